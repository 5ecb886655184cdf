//! Requests and entities out of the engine's own objects (`placet_engine.model`).

use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyList, PyString, PyTuple};

use crate::asked::Asked;
use crate::values::{
    self, Circumstances, Entity, Fields, MAX_DEPTH, MAX_ELEMENTS, MAX_ENTITIES, MAX_FIELDS, Sent,
    Uid, Value,
};

/// Read a request. None: it is not mine.
#[pyfunction]
pub fn read_model(request: &Bound<'_, PyAny>) -> Option<Asked> {
    let py = request.py();
    let entities = request.getattr(intern!(py, "entities")).ok()?;
    let entities = entities.cast::<PyTuple>().ok()?;
    if entities.len() > MAX_ENTITIES {
        return None;
    }
    let mut sent = Sent::default();
    for entity in entities {
        sent.add(Arc::new(entity_of(&entity)?));
    }
    let part = |name| uid_of(&request.getattr(name).ok()?);
    let context = fields_of(&request.getattr(intern!(py, "context")).ok()?, 1)?;
    let approved = request.getattr(intern!(py, "approved")).ok()?;
    Some(Asked {
        subject: part(intern!(py, "subject"))?,
        action: part(intern!(py, "action"))?,
        resource: part(intern!(py, "resource"))?,
        context: Arc::new(Circumstances::new(context)),
        sent,
        approved: approved.cast::<PyBool>().ok()?.is_true(),
    })
}

/// Read an `Entity`.
pub fn entity_of(entity: &Bound<'_, PyAny>) -> Option<Entity> {
    let py = entity.py();
    let parents = entity.getattr(intern!(py, "parents")).ok()?;
    Some(Entity::new(
        uid_of(&entity.getattr(intern!(py, "uid")).ok()?)?,
        fields_of(&entity.getattr(intern!(py, "attributes")).ok()?, 1)?,
        uids_of(&parents)?,
        fields_of(&entity.getattr(intern!(py, "tags")).ok()?, 1)?,
    ))
}

/// Read a tuple of `EntityUid`s.
pub fn uids_of(uids: &Bound<'_, PyAny>) -> Option<Vec<Uid>> {
    uids.cast::<PyTuple>()
        .ok()?
        .iter()
        .map(|uid| uid_of(&uid))
        .collect()
}

fn uid_of(uid: &Bound<'_, PyAny>) -> Option<Uid> {
    let pair = uid.cast::<PyTuple>().ok()?;
    let (kind, id) = (pair.get_item(0).ok()?, pair.get_item(1).ok()?);
    Uid::new(text_of(&kind)?, text_of(&id)?)
}

/// Return a text; None also where it is none that UTF-8 can write.
fn text_of<'a>(text: &'a Bound<'_, PyAny>) -> Option<&'a str> {
    text.cast::<PyString>().ok()?.to_str().ok()
}

fn fields_of(fields: &Bound<'_, PyAny>, depth: usize) -> Option<Fields> {
    let fields = fields.cast_exact::<PyDict>().ok()?;
    if fields.len() > MAX_FIELDS {
        return None;
    }
    let read: Option<Fields> = fields
        .iter()
        .map(|(name, value)| Some((text_of(&name)?.into(), value_of(&value, depth)?)))
        .collect();
    values::fields(read?)
}

fn value_of(value: &Bound<'_, PyAny>, depth: usize) -> Option<Value> {
    if let Ok(text) = value.cast::<PyString>() {
        return Value::text(text.to_str().ok()?);
    }
    // Before numbers: to Python, `True` is one.
    if let Ok(flag) = value.cast::<PyBool>() {
        return Some(Value::Bool(flag.is_true()));
    }
    if let Ok(number) = value.cast::<PyInt>() {
        return Some(Value::Long(number.extract().ok()?));
    }
    if depth >= MAX_DEPTH {
        return None;
    }
    if let Ok(mapping) = value.cast_exact::<PyDict>() {
        let py = value.py();
        if let Some(uid) = mapping.get_item(intern!(py, "__entity")).ok()? {
            let (kind, id) = pair(&uid, "type", "id")?;
            let uid = Uid::new(text_of(&kind)?, text_of(&id)?)?;
            return (mapping.len() == 1).then_some(Value::Entity(uid));
        }
        if let Some(call) = mapping.get_item(intern!(py, "__extn")).ok()? {
            let (function, argument) = pair(&call, "fn", "arg")?;
            let value = Value::extension(text_of(&function)?, text_of(&argument)?)?;
            return (mapping.len() == 1).then_some(value);
        }
        return Some(Value::Record(fields_of(value, depth + 1)?));
    }
    let elements: Vec<Bound<'_, PyAny>> = if let Ok(list) = value.cast::<PyList>() {
        list.iter().collect()
    } else {
        value.cast::<PyTuple>().ok()?.iter().collect()
    };
    if elements.len() > MAX_ELEMENTS {
        return None;
    }
    let elements: Option<Vec<_>> = elements
        .iter()
        .map(|element| value_of(element, depth + 1))
        .collect();
    Some(Value::Set(elements?))
}

/// Return the values of a mapping that has two names and nothing else.
fn pair<'py>(
    mapping: &Bound<'py, PyAny>,
    first: &str,
    second: &str,
) -> Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let mapping = mapping.cast_exact::<PyDict>().ok()?;
    (mapping.len() == 2).then_some(())?;
    Some((
        mapping.get_item(first).ok()??,
        mapping.get_item(second).ok()??,
    ))
}
