//! Tests of the whole cluster: acceptance, simulation and end to end.

pub mod etcd;
pub mod locality;
pub mod sim;
pub mod stage;
