//! The entities a program knows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::model::entity_of;
use crate::values::{Entity, Uid};

/// Entities that are remembered as read; the others are read again.
const REMEMBERED: usize = 10_000;

/// An `EntityGraph`'s dictionary of entities by uid, which must not change.
#[pyclass(frozen)]
pub struct Stored {
    entities: Py<PyDict>,
    is_empty: bool,
    read: Mutex<HashMap<Uid, Arc<Entity>>>,
}

#[pymethods]
impl Stored {
    #[new]
    fn new(entities: Bound<'_, PyDict>) -> Self {
        Self {
            is_empty: entities.is_empty(),
            entities: entities.unbind(),
            read: Mutex::default(),
        }
    }
}

impl Stored {
    /// Return an entity, if there is one. The outer None: it is not mine.
    pub fn get(&self, py: Python<'_>, uid: &Uid) -> Option<Option<Arc<Entity>>> {
        if self.is_empty {
            return Some(None);
        }
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.get(uid) {
            return Some(Some(known.clone()));
        }
        // A named tuple is found by a plain one.
        let key = (uid.kind.as_str(), uid.id.as_str());
        let Some(found) = self.entities.bind(py).get_item(key).ok()? else {
            return Some(None);
        };
        let entity = Arc::new(entity_of(&found)?);
        if read.len() >= REMEMBERED {
            read.clear();
        }
        read.insert(uid.clone(), entity.clone());
        Some(Some(entity))
    }
}
