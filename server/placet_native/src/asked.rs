//! A request, and what is done with it: choose policies, write the cache's key, judge.

use std::collections::HashSet;
use std::sync::Arc;

use cedar_policy::{Entities, Request};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::policies::Policies;
use crate::stored::Stored;
use crate::values::{Canonical, Circumstances, Entity, Sent, Uid, gather_references};

/// A request that was read. Every method returns None for what is not mine.
#[pyclass(frozen)]
pub struct Asked {
    pub subject: Uid,
    pub action: Uid,
    pub resource: Uid,
    pub context: Arc<Circumstances>,
    pub sent: Sent,
    pub approved: bool,
}

#[pymethods]
impl Asked {
    /// Return the buckets of policies whose scope the request matches.
    ///
    /// The same ones in the same order as `PolicyIndex.select` does for `keys_of` of the request.
    ///
    /// Args:
    ///     trees: of each `PolicyIndex`.
    ///     stored: the entities that the program knows.
    fn choose<'py>(
        &self,
        py: Python<'py>,
        trees: &Bound<'py, PyTuple>,
        stored: &Stored,
    ) -> Option<Bound<'py, PyList>> {
        let merged = Merged {
            asked: self,
            stored,
            py,
        };
        let principals = keys(py, &self.subject, &merged.ancestors(&self.subject)?)?;
        let actions = keys(py, &self.action, &merged.ancestors(&self.action)?)?;
        let resources = keys(py, &self.resource, &merged.ancestors(&self.resource)?)?;
        let found = PyList::empty(py);
        for tree in trees {
            let tree = tree.cast_into::<PyDict>().ok()?;
            for principal in &principals {
                let Some(by_action) = branch(&tree, principal)? else {
                    continue;
                };
                for action in &actions {
                    let Some(by_resource) = branch(&by_action, action)? else {
                        continue;
                    };
                    for resource in &resources {
                        if let Some(bucket) = by_resource.get_item(resource).ok()? {
                            found.append(bucket).ok()?;
                        }
                    }
                }
            }
        }
        Some(found)
    }

    /// Return what the verdict by some policies can depend on.
    ///
    /// Requests with the same bytes get the same verdict from one program; see
    /// `placet_engine.projecting`. No bytes of that module begin as these do.
    fn projection<'py>(&self, py: Python<'py>, policies: &Policies) -> Bound<'py, PyBytes> {
        let bytes = self.projected(policies).unwrap_or_else(|| self.whole());
        PyBytes::new(py, bytes.bytes())
    }

    /// Whether both ask the same.
    fn __eq__(&self, other: &Self) -> bool {
        self.whole().bytes() == other.whole().bytes()
    }

    /// Judge: return the ids of the policies that are satisfied.
    fn judge<'py>(
        &self,
        py: Python<'py>,
        policies: &Policies,
        stored: &Stored,
    ) -> Option<Bound<'py, PyTuple>> {
        let merged = Merged {
            asked: self,
            stored,
            py,
        };
        let reached = merged.reach(policies)?;
        let entities: Option<Vec<_>> = reached.iter().map(|entity| entity.to_cedar()).collect();
        let entities = Entities::from_entities(entities?, None).ok()?;
        let request = Request::new(
            self.subject.to_cedar()?,
            self.action.to_cedar()?,
            self.resource.to_cedar()?,
            self.context.to_cedar()?,
            None,
        )
        .ok()?;
        let satisfied: Vec<Py<PyString>> = policies.satisfied(py, &request, &entities)?;
        PyTuple::new(py, satisfied).ok()
    }
}

const PROJECTED: u8 = 0;
const WHOLE: u8 = 1;

impl Asked {
    fn projected(&self, policies: &Policies) -> Option<Canonical> {
        let reads = &policies.reads;
        let mut bytes = Canonical::beginning(PROJECTED);
        bytes.number(policies.serial);
        for (is_read, uid) in [
            (reads.principal, &self.subject),
            (reads.action, &self.action),
            (reads.resource, &self.resource),
        ] {
            if is_read {
                bytes.uid(uid);
            }
        }
        if reads.whole_context {
            bytes.fields(&self.context.fields);
        } else {
            bytes.kept(&self.context.fields, &reads.context)?;
        }
        bytes.count(self.sent.iter().len());
        for entity in self.sent.iter() {
            bytes.uid(&entity.uid);
            bytes.kept(&entity.attributes, &reads.attributes)?;
            if reads.tags {
                bytes.fields(&entity.tags);
            } else {
                bytes.kept(&entity.tags, &HashSet::new())?;
            }
            bytes.uids(&entity.parents);
        }
        bytes.flag(self.approved);
        Some(bytes)
    }

    fn whole(&self) -> Canonical {
        let mut bytes = Canonical::beginning(WHOLE);
        for uid in [&self.subject, &self.action, &self.resource] {
            bytes.uid(uid);
        }
        bytes.fields(&self.context.fields);
        bytes.count(self.sent.iter().len());
        for entity in self.sent.iter() {
            bytes.uid(&entity.uid);
            bytes.fields(&entity.attributes);
            bytes.fields(&entity.tags);
            bytes.uids(&entity.parents);
        }
        bytes.flag(self.approved);
        bytes
    }
}

/// Stored entities with those of the request merged under them.
struct Merged<'a, 'py> {
    asked: &'a Asked,
    stored: &'a Stored,
    py: Python<'py>,
}

impl Merged<'_, '_> {
    /// Return an entity as policies see it, if there is one. The outer None: it is not mine.
    fn get(&self, uid: &Uid) -> Option<Option<Arc<Entity>>> {
        let stored = self.stored.get(self.py, uid)?;
        Some(match (stored, self.asked.sent.get(uid)) {
            (Some(stored), Some(sent)) => Some(Arc::new(stored.over(sent))),
            (Some(entity), None) => Some(entity),
            (None, sent) => sent.cloned(),
        })
    }

    /// Return what an entity is in, in the order of `MergedEntities.ancestors`.
    fn ancestors(&self, uid: &Uid) -> Option<Vec<Uid>> {
        let mut found: Vec<Uid> = Vec::new();
        let mut seen: HashSet<Uid> = HashSet::new();
        let mut queue = vec![uid.clone()];
        while let Some(uid) = queue.pop() {
            let Some(entity) = self.get(&uid)? else {
                continue;
            };
            queue.extend(
                entity
                    .parents
                    .iter()
                    .filter(|parent| !seen.contains(*parent))
                    .cloned(),
            );
            for parent in &entity.parents {
                if seen.insert(parent.clone()) {
                    found.push(parent.clone());
                }
            }
        }
        Some(found)
    }

    /// Return the entities that the policies can get at; see `MergedEntities.reach`.
    fn reach(&self, policies: &Policies) -> Option<Vec<Arc<Entity>>> {
        let asked = self.asked;
        let goes_on = policies.reads.goes_on;
        let mut queue = policies.literals.clone();
        queue.extend([&asked.subject, &asked.action, &asked.resource].map(Uid::clone));
        if goes_on {
            gather_references(&asked.context.fields, &mut queue);
        }
        let mut seen: HashSet<Uid> = HashSet::new();
        let mut reached = Vec::new();
        while let Some(uid) = queue.pop() {
            if seen.contains(&uid) {
                continue;
            }
            if let Some(entity) = self.get(&uid)? {
                queue.extend(entity.parents.iter().cloned());
                if goes_on {
                    gather_references(&entity.attributes, &mut queue);
                    gather_references(&entity.tags, &mut queue);
                }
                reached.push(entity);
            }
            seen.insert(uid);
        }
        Some(reached)
    }
}

/// Return the keys an entity of a request has, equal to those of `placet_engine.scopes.keys_of`.
fn keys<'py>(py: Python<'py>, uid: &Uid, ancestors: &[Uid]) -> Option<Vec<Bound<'py, PyAny>>> {
    let kind = PyString::new(py, &uid.kind).into_any();
    let none = py.None().into_bound(py);
    let id = PyString::new(py, &uid.id).into_any();
    let tuple = |parts: &[&Bound<'py, PyAny>]| Some(PyTuple::new(py, parts).ok()?.into_any());
    let mut keys = vec![
        none.clone(),
        tuple(&[&kind, &id])?,
        kind.clone(),
        tuple(&[&none, &kind, &id])?,
        tuple(&[&kind, &kind, &id])?,
    ];
    for group in ancestors {
        let group_kind = PyString::new(py, &group.kind).into_any();
        let group_id = PyString::new(py, &group.id).into_any();
        keys.push(tuple(&[&none, &group_kind, &group_id])?);
        keys.push(tuple(&[&kind, &group_kind, &group_id])?);
    }
    Some(keys)
}

/// Follow a key. The outer None: there is no tree here.
fn branch<'py>(
    tree: &Bound<'py, PyDict>,
    key: &Bound<'py, PyAny>,
) -> Option<Option<Bound<'py, PyDict>>> {
    match tree.get_item(key).ok()? {
        Some(found) => Some(Some(found.cast_into::<PyDict>().ok()?)),
        None => Some(None),
    }
}
