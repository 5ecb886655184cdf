//! The policies of one slice, parsed by Cedar, and what they look at.

use std::collections::HashSet;

use cedar_policy::{Entities, PolicySet, Request};
use cedar_policy_core::ast::{self, Expr, Literal, SlotEnv, ValueKind};
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use smol_str::SmolStr;

use crate::model::uids_of;
use crate::values::Uid;

/// Of the policies of a slice those that count. Their ids are their places in the slice.
#[pyclass(frozen)]
pub struct Policies {
    /// Each policy's condition, scope included, put together once: Cedar's authorizer does it anew
    /// for each request.
    conditions: Vec<(Expr, SlotEnv)>,
    /// The id of each, as Python has it.
    ids: Vec<Py<PyString>>,
    /// Tells the slice apart from all others.
    pub serial: u64,
    /// Entities that the policies name.
    pub literals: Vec<Uid>,
    pub reads: Reads,
}

/// What of a request policies look at: see `placet_engine.reads`.
pub struct Reads {
    pub principal: bool,
    pub action: bool,
    pub resource: bool,
    pub whole_context: bool,
    pub context: HashSet<SmolStr>,
    pub attributes: HashSet<SmolStr>,
    pub tags: bool,
    pub goes_on: bool,
}

#[pymethods]
impl Policies {
    /// Args:
    ///     text: the policies in Cedar's JSON form.
    ///     serial, literals, reads: the slice's.
    ///
    /// Raises:
    ///     ValueError: they are not mine.
    #[new]
    fn new(
        py: Python<'_>,
        text: &str,
        serial: u64,
        literals: &Bound<'_, PyAny>,
        reads: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let set = py
            .detach(|| PolicySet::from_json_str(text).map_err(|error| error.to_string()))
            .map_err(PyValueError::new_err)?;
        let policies: Vec<_> = AsRef::<ast::PolicySet>::as_ref(&set).policies().collect();
        let names = |field: &str| -> PyResult<HashSet<SmolStr>> {
            let names: HashSet<String> = reads.getattr(field)?.extract()?;
            Ok(names.into_iter().map(SmolStr::from).collect())
        };
        let flag = |field: &str| -> PyResult<bool> { reads.getattr(field)?.extract() };
        let variables = names("variables")?;
        Ok(Self {
            ids: policies
                .iter()
                .map(|policy| PyString::new(py, policy.id().as_ref()).unbind())
                .collect(),
            conditions: policies
                .iter()
                .map(|policy| (policy.condition(), policy.env().clone()))
                .collect(),
            serial,
            literals: uids_of(literals)
                .ok_or_else(|| PyValueError::new_err("an entity of a form not known here"))?,
            reads: Reads {
                principal: variables.contains("principal"),
                action: variables.contains("action"),
                resource: variables.contains("resource"),
                whole_context: variables.contains("context"),
                context: names("context")?,
                attributes: names("attributes")?,
                tags: flag("tags")?,
                goes_on: flag("goes_on")?,
            },
        })
    }
}

impl Policies {
    /// Return the ids of the policies that are satisfied, in no particular order.
    ///
    /// None where one of them failed: what is said of that is Python's to read. What follows from
    /// those that are satisfied is for `placet_engine.precedence`, which knows Cedar's rule too.
    pub fn satisfied(
        &self,
        py: Python<'_>,
        request: &Request,
        entities: &Entities,
    ) -> Option<Vec<Py<PyString>>> {
        let request: &ast::Request = request.as_ref();
        let evaluator = Evaluator::new(
            request.clone(),
            entities.as_ref(),
            Extensions::all_available(),
        );
        let mut satisfied = Vec::new();
        for ((condition, slots), id) in self.conditions.iter().zip(&self.ids) {
            match evaluator.interpret(condition, slots).ok()?.value_kind() {
                ValueKind::Lit(Literal::Bool(true)) => satisfied.push(id.clone_ref(py)),
                ValueKind::Lit(Literal::Bool(false)) => {}
                _ => return None,
            }
        }
        Some(satisfied)
    }
}
