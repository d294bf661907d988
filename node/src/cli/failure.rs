//! Why a command failed: a code for programs, words for people.

use std::error::Error;
use std::fmt;
use std::io;

use serde::Serialize;
use vioduct_certs::ca::CaError;
use vioduct_certs::credentials::LoadError;
use vioduct_certs::files::FileError;
use vioduct_certs::install::InstallError;
use vioduct_certs::inventory::InventoryError;
use vioduct_db::client::DbError;
use vioduct_node::config::ConfigError;
use vioduct_node::daemon::StartError;
use vioduct_node::status::SCHEMA;
use vioduct_node::tool::ToolError;
use vioduct_vios::api::{VioCode, VioException};
use vioduct_vios::cluster::admin::AdminError;

/// What was asked can't be asked so. Fault: the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// It is done, but what was waited for has not come.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Pending(pub(crate) String);

/// Why a command failed, as it answers.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    schema: u32,
    error: Fault,
}

#[derive(Debug, Serialize)]
struct Fault {
    code: &'static str,
    text: String,
}

impl From<&anyhow::Error> for Failure {
    fn from(error: &anyhow::Error) -> Self {
        let code =
            if error.is::<Pending>() { Some("pending") } else { error.chain().find_map(code) };
        let code = code.unwrap_or("failed");
        Self { schema: SCHEMA, error: Fault { code, text: format!("{error:#}") } }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { code, text } = &self.error;
        writeln!(f, "error[{code}]: {text}")
    }
}

/// The code of an error that has one.
fn code(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(exception) = error.downcast_ref::<VioException>() {
        return Some(exception.code.as_str());
    }
    if let Some(error) = error.downcast_ref::<AdminError>() {
        return Some(VioCode::from(error).as_str());
    }
    if let Some(error) = error.downcast_ref::<DbError>() {
        return Some(VioCode::from(error).as_str());
    }
    if let Some(error) = error.downcast_ref::<ToolError>() {
        return match error {
            ToolError::NotATool(_) => Some("certificates"),
            ToolError::TurnedDown(_) => Some("turned_down"),
            ToolError::Address { .. } | ToolError::NoAnswer { .. } | ToolError::Ask(_) => {
                Some("unreachable")
            }
            // What they come from may have one.
            _ => None,
        };
    }
    let is_configuration =
        error.downcast_ref::<StartError>().is_some_and(StartError::is_configuration);
    if is_configuration || error.is::<ConfigError>() || error.is::<InventoryError>() {
        return Some("configuration");
    }
    if error.is::<CaError>() || error.is::<LoadError>() || error.is::<InstallError>() {
        return Some("certificates");
    }
    if error.is::<FileError>() || error.is::<io::Error>() {
        return Some("files");
    }
    error.is::<Usage>().then_some("usage")
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_code_is_that_of_what_is_behind_the_words() {
        let code = |error: anyhow::Error| Failure::from(&error).error.code;
        assert_eq!(code(anyhow::anyhow!("words")), "failed");
        assert_eq!(code(Usage("words".into()).into()), "usage");
        let missing = Err::<(), _>(VioException::from(AdminError::NoCluster));
        let missing = missing.context("nothing is listed").unwrap_err();
        assert_eq!(code(missing), "missing");
        let away = DbError::Unavailable { shard: vioduct_db::ShardId(0), why: String::new() };
        assert_eq!(code(AdminError::from(away).into()), "unavailable");
        let late = anyhow::Error::from(VioException::from(AdminError::NoCluster));
        assert_eq!(code(late.context(Pending("it is made later".into()))), "pending");
        assert_eq!(code(io::Error::from(io::ErrorKind::NotFound).into()), "files");
    }

    #[test]
    fn a_failure_is_one_line_for_people_and_one_document_for_programs() {
        let failure = Failure::from(&Usage("name the node".into()).into());
        assert_eq!(failure.to_string(), "error[usage]: name the node\n");
        let json = serde_json::to_string(&failure).unwrap();
        let expected = r#""error":{"code":"usage","text":"name the node"}}"#;
        assert_eq!(json, format!("{{\"schema\":{SCHEMA},{expected}"));
    }
}
