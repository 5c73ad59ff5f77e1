//! The wire of Nesos: protobuf definitions and every conversion between them and the domain types.
