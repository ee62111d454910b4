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

/// How a call is made over HTTP with JSON: one binding of `google.api.http`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HttpRule {
    pub verb: &'static str,
    /// `/api/v1/namespaces/{namespace}/...`: what is in braces is the path of a field of the request.
    pub template: &'static str,
    /// `*` where the body is the request, empty where the query is.
    pub body: &'static str,
    /// Its place in [`METHODS`].
    pub method: usize,
}

/// The public API as OpenAPI 2 in JSON and as OpenAPI 3 in YAML, both compressed with gzip.
pub const OPENAPI_V2_GZIP: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/openapiv2.json.gz"));
pub const OPENAPI_V3_GZIP: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/openapiv3.yaml.gz"));

include!(concat!(env!("OUT_DIR"), "/http_rules.rs"));

/// The encoded `FileDescriptorSet` of the public API, without options.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

include!(concat!(env!("OUT_DIR"), "/methods.rs"));
