//! Every public RPC, generated from the descriptors.

/// One RPC of WorkflowService or OperatorService.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Method {
    /// Full name, e.g. `temporal.api.workflowservice.v1.WorkflowService`.
    pub service: &'static str,
    pub name: &'static str,
    /// The HTTP/2 path of its calls.
    pub path: &'static str,
}

/// The encoded `FileDescriptorSet` of the public API, with `google.api.http` rules.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

include!(concat!(env!("OUT_DIR"), "/methods.rs"));
