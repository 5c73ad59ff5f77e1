//! etcd's own types, generated.

#![expect(
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated; the documentation is in etcd's own .proto files"
)]

tonic::include_proto!("etcdserverpb");
