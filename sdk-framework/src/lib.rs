//! Write a Nesos framework: the Scheduler trait and the driver that keeps it connected.
