//! The policies of one slice, parsed by Cedar, and what they look at.

use std::collections::HashSet;

use cedar_policy::{Authorizer, Entities, PolicySet, Request};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use smol_str::SmolStr;

use crate::model::uids_of;
use crate::values::Uid;

/// Of the policies of a slice those that count. Their ids are their places in the slice.
#[pyclass(frozen)]
pub struct Policies {
    set: PolicySet,
    /// The ids, as Python has them.
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
    ///     count: how many places the slice has.
    ///     serial, literals, reads: the slice's.
    ///
    /// Raises:
    ///     ValueError: they are not mine.
    #[new]
    fn new(
        py: Python<'_>,
        text: &str,
        count: usize,
        serial: u64,
        literals: &Bound<'_, PyAny>,
        reads: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let set = py
            .detach(|| PolicySet::from_json_str(text).map_err(|error| error.to_string()))
            .map_err(PyValueError::new_err)?;
        let names = |field: &str| -> PyResult<HashSet<SmolStr>> {
            let names: HashSet<String> = reads.getattr(field)?.extract()?;
            Ok(names.into_iter().map(SmolStr::from).collect())
        };
        let flag = |field: &str| -> PyResult<bool> { reads.getattr(field)?.extract() };
        let variables = names("variables")?;
        Ok(Self {
            set,
            ids: (0..count)
                .map(|place| PyString::new(py, &place.to_string()).unbind())
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
    /// Return the ids of the policies that determine the answer, in order of their places.
    ///
    /// None where one of them failed: what is said of that is Python's to read.
    pub fn determining(
        &self,
        py: Python<'_>,
        request: &Request,
        entities: &Entities,
    ) -> Option<Vec<Py<PyString>>> {
        let response = Authorizer::new().is_authorized(request, &self.set, entities);
        let diagnostics = response.diagnostics();
        if diagnostics.errors().next().is_some() {
            return None;
        }
        let mut places = diagnostics
            .reason()
            .map(|id| AsRef::<str>::as_ref(id).parse().ok())
            .collect::<Option<Vec<usize>>>()?;
        places.sort_unstable();
        places
            .into_iter()
            .map(|place| Some(self.ids.get(place)?.clone_ref(py)))
            .collect()
    }
}
