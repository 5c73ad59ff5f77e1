//! Generates the wire types and services from the `.proto` files, without `protoc`.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

const PROTOS: [&str; 6] = [
    "nesos/v1/agent.proto",
    "nesos/v1/bundle.proto",
    "nesos/v1/cell.proto",
    "nesos/v1/common.proto",
    "nesos/v1/operator.proto",
    "nesos/v1/scheduler.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("no OUT_DIR"))?);
    let descriptors = protox::compile(PROTOS, [Path::new("proto")])?;
    fs::write(
        out.join("nesos_v1_descriptor.bin"),
        prost_encode(&descriptors),
    )?;
    tonic_prost_build::configure()
        .bytes(".nesos.v1.AttachInput")
        .bytes(".nesos.v1.AttachOutput")
        .bytes(".nesos.v1.UploadChunk")
        .bytes(".nesos.v1.DownloadChunk")
        .bytes(".nesos.v1.LogsChunk")
        // What few tasks have takes no room in all others.
        .boxed(".nesos.v1.TaskInfo.executor")
        .boxed(".nesos.v1.TaskInfo.group")
        .boxed(".nesos.v1.TaskInfo.health")
        .boxed(".nesos.v1.TaskInfo.service")
        .compile_fds(descriptors)?;
    Ok(())
}

fn prost_encode(descriptors: &impl protox::prost::Message) -> Vec<u8> {
    descriptors.encode_to_vec()
}
