//! stub: reads a folder of HCL into `Desired`.
use crate::diag::{Diagnostics, SourceMap};
use crate::model::Desired;
use camino::Utf8Path;

/// Where values of variables come from, beside defaults and `tranship.vars.hcl`.
#[derive(Debug, Clone, Default)]
pub struct VariableInputs {
    /// `TRANSHIP_VAR_name` → text, from the environment.
    pub environment: Vec<(String, String)>,
    /// `--var-file`, in order.
    pub files: Vec<String>,
    /// `--var name=value`, in order; wins over all.
    pub assignments: Vec<(String, String)>,
}
/// What a folder of configuration came to.
#[derive(Debug)]
pub struct Loaded {
    /// All texts that were read.
    pub sources: SourceMap,
    /// The configuration, when there is no error.
    pub desired: Option<Desired>,
    /// All errors and warnings of all files.
    pub diagnostics: Diagnostics,
}
/// Reads, evaluates and checks a folder.
pub fn load(_folder: &Utf8Path, _variables: &VariableInputs) -> Loaded {
    Loaded { sources: SourceMap::default(), desired: None, diagnostics: Diagnostics::default() }
}
