//! Requests out of protobuf: `EvaluateRequest` and `EvaluateBatchRequest` of `placet.v1`.
//!
//! Only what every client writes is read. What the protobuf encoding allows beside that (fields
//! that are not known here, a field that comes twice, a map with a name twice) is not mine; nor is
//! what `placet.wire` would refuse. Texts stay where they are until a value is made of them.

use std::str::from_utf8;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::asked::Asked;
use crate::values::{
    Circumstances, Entity, Fields, MAX_DEPTH, MAX_ELEMENTS, MAX_ENTITIES, MAX_FIELDS, MAX_ITEMS,
    MAX_MESSAGE_BYTES, Sent, Uid, Value, fields,
};

/// Read an `EvaluateRequest`: its tenant, its `min_revision` and what is asked. None: not mine.
#[pyfunction]
pub fn read_request(data: &[u8]) -> Option<(&str, i64, Asked)> {
    (data.len() <= MAX_MESSAGE_BYTES).then_some(())?;
    let mut tenant = Once::new();
    let (mut subject, mut action, mut resource) = (Once::new(), Once::new(), Once::new());
    let mut min_revision = Once::new();
    let (mut context, mut entities) = (Vec::new(), Vec::new());
    parts(data, |number, part| match number {
        1 => tenant.set(part.text()?),
        2 => subject.set(described(part.bytes()?, Names::TYPE_FIRST)?),
        3 => action.set(described(part.bytes()?, Names::NAME_FIRST)?),
        4 => resource.set(described(part.bytes()?, Names::TYPE_FIRST)?),
        5 => entry(part.bytes()?, 1, &mut context),
        6 => add_entity(part.bytes()?, &mut entities),
        7 => min_revision.set(part.number()? as i64),
        _ => None,
    })?;
    let asked = asked(
        [&subject.0?, &action.0?, &resource.0?],
        Arc::new(Circumstances::new(fields(context)?)),
        entities.iter(),
    );
    Some((tenant_name(tenant.0?)?, min_revision.0.unwrap_or(0), asked))
}

/// An `EvaluateBatchRequest`. What its items share is read; they are one by one.
#[pyclass(frozen)]
pub struct Batch {
    #[pyo3(get)]
    tenant: String,
    #[pyo3(get)]
    min_revision: i64,
    #[pyo3(get)]
    semantics: i32,
    shared: Item,
    context: Arc<Circumstances>,
    items: Vec<Py<PyBytes>>,
    /// The fields that are shared, as they came.
    shared_bytes: Py<PyBytes>,
}

#[pymethods]
impl Batch {
    /// Return for each item bytes that are equal only for requests that ask the same.
    fn keys<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        self.items
            .iter()
            .map(|item| (self.shared_bytes.bind(py).clone(), item.bind(py).clone()))
            .collect()
    }

    /// Read an item; what it leaves out is the batch's.
    fn request(&self, py: Python<'_>, index: usize) -> Option<Asked> {
        let own = Item::read(self.items.get(index)?.as_bytes(py))?;
        let shared = &self.shared;
        let context = if own.context.is_empty() {
            self.context.clone()
        } else {
            let own = fields(own.context)?;
            let merged = crate::values::over(&own, &self.context.fields);
            (merged.len() <= MAX_FIELDS).then_some(())?;
            Arc::new(Circumstances::new(merged))
        };
        (own.entities.len() + shared.entities.len() <= MAX_ENTITIES).then_some(())?;
        Some(asked(
            [
                own.subject.0.as_ref().or(shared.subject.0.as_ref())?,
                own.action.0.as_ref().or(shared.action.0.as_ref())?,
                own.resource.0.as_ref().or(shared.resource.0.as_ref())?,
            ],
            context,
            own.entities.iter().chain(&shared.entities),
        ))
    }
}

/// Read an `EvaluateBatchRequest`. None: it is not mine.
#[pyfunction]
pub fn read_batch<'py>(data: &Bound<'py, PyBytes>) -> Option<Batch> {
    let py = data.py();
    let data = data.as_bytes();
    (data.len() <= MAX_MESSAGE_BYTES).then_some(())?;
    let mut tenant = Once::new();
    let (mut semantics, mut min_revision) = (Once::new(), Once::new());
    let mut shared = Item::default();
    let mut shared_bytes = Vec::new();
    let mut items = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let before = rest;
        let (number, part) = next_part(&mut rest)?;
        match number {
            1 => tenant.set(part.text()?)?,
            2..=6 => {
                shared_bytes.extend_from_slice(&before[..before.len() - rest.len()]);
                shared.part(number - 1, part)?;
            }
            7 => semantics.set(i32::try_from(part.number()?).ok()?)?,
            8 => items.push(PyBytes::new(py, part.bytes()?).unbind()),
            9 => min_revision.set(part.number()? as i64)?,
            _ => return None,
        }
    }
    (1..=MAX_ITEMS).contains(&items.len()).then_some(())?;
    let context = fields(std::mem::take(&mut shared.context))?;
    Some(Batch {
        tenant: tenant_name(tenant.0?)?.to_owned(),
        min_revision: min_revision.0.unwrap_or(0),
        semantics: semantics.0.unwrap_or(0),
        shared,
        context: Arc::new(Circumstances::new(context)),
        items,
        shared_bytes: PyBytes::new(py, &shared_bytes).unbind(),
    })
}

/// What an item of a batch says, and what a batch says for all of its items.
#[derive(Default)]
struct Item {
    subject: Once<Described>,
    action: Once<Described>,
    resource: Once<Described>,
    context: Fields,
    entities: Vec<Arc<Entity>>,
}

impl Item {
    fn read(data: &[u8]) -> Option<Self> {
        let mut item = Self::default();
        parts(data, |number, part| item.part(number, part))?;
        Some(item)
    }

    /// Read a part by its number in a `BatchItem`.
    fn part(&mut self, number: u64, part: Part<'_>) -> Option<()> {
        let data = part.bytes()?;
        match number {
            1 => self.subject.set(described(data, Names::TYPE_FIRST)?),
            2 => self.action.set(described(data, Names::NAME_FIRST)?),
            3 => self.resource.set(described(data, Names::TYPE_FIRST)?),
            4 => entry(data, 1, &mut self.context),
            5 => add_entity(data, &mut self.entities),
            _ => None,
        }
    }
}

fn asked<'a>(
    [subject, action, resource]: [&Described; 3],
    context: Arc<Circumstances>,
    others: impl Iterator<Item = &'a Arc<Entity>>,
) -> Asked {
    let mut sent = Sent::default();
    for part in [subject, action, resource] {
        if let Some(entity) = &part.entity {
            sent.add(entity.clone());
        }
    }
    others.for_each(|entity| sent.add(entity.clone()));
    Asked {
        subject: subject.uid.clone(),
        action: action.uid.clone(),
        resource: resource.uid.clone(),
        context,
        sent,
        // A permit would have to be checked.
        approved: false,
    }
}

/// A subject, action or resource: its name, and what came with it, if anything did.
struct Described {
    uid: Uid,
    entity: Option<Arc<Entity>>,
}

/// Which numbers the fields of a name have.
#[derive(Clone, Copy)]
struct Names {
    kind: u64,
    id: u64,
    /// The type where none is given.
    usual: Option<&'static str>,
}

impl Names {
    const TYPE_FIRST: Self = Self {
        kind: 1,
        id: 2,
        usual: None,
    };
    const NAME_FIRST: Self = Self {
        kind: 2,
        id: 1,
        usual: Some("Action"),
    };
}

fn described(data: &[u8], names: Names) -> Option<Described> {
    let (mut kind, mut id) = (Once::new(), Once::new());
    let mut properties = Vec::new();
    parts(data, |number, part| match number {
        _ if number == names.kind => kind.set(part.text()?),
        _ if number == names.id => id.set(part.text()?),
        3 => entry(part.bytes()?, 1, &mut properties),
        _ => None,
    })?;
    let kind = kind.0.filter(|kind| !kind.is_empty()).or(names.usual)?;
    let uid = Uid::new(kind, id.0?)?;
    let entity = if properties.is_empty() {
        None
    } else {
        let attributes = fields(properties)?;
        Some(Arc::new(Entity::new(
            uid.clone(),
            attributes,
            vec![],
            vec![],
        )))
    };
    Some(Described { uid, entity })
}

fn add_entity(data: &[u8], entities: &mut Vec<Arc<Entity>>) -> Option<()> {
    (entities.len() < MAX_ENTITIES).then_some(())?;
    let mut uid = Once::new();
    let (mut attributes, mut parents, mut tags) = (Vec::new(), Vec::new(), Vec::new());
    parts(data, |number, part| {
        let data = part.bytes()?;
        match number {
            1 => uid.set(uid_of(data)?)?,
            2 => entry(data, 1, &mut attributes)?,
            3 => parents.push(uid_of(data)?),
            4 => entry(data, 1, &mut tags)?,
            _ => return None,
        }
        Some(())
    })?;
    let entity = Entity::new(uid.0?, fields(attributes)?, parents, fields(tags)?);
    entities.push(Arc::new(entity));
    Some(())
}

fn uid_of(data: &[u8]) -> Option<Uid> {
    let (mut kind, mut id) = (Once::new(), Once::new());
    parts(data, |number, part| match number {
        1 => kind.set(part.text()?),
        2 => id.set(part.text()?),
        _ => None,
    })?;
    Uid::new(kind.0?, id.0?)
}

/// Read an entry of a map of values.
fn entry(data: &[u8], depth: usize, entries: &mut Fields) -> Option<()> {
    (entries.len() < MAX_FIELDS).then_some(())?;
    let (mut name, mut value) = (Once::new(), Once::new());
    parts(data, |number, part| match number {
        1 => name.set(part.text()?),
        2 => value.set(value_of(part.bytes()?, depth)?),
        _ => None,
    })?;
    entries.push((name.0?.into(), value.0?));
    Some(())
}

fn value_of(data: &[u8], depth: usize) -> Option<Value> {
    let mut value = Once::new();
    parts(data, |number, part| {
        value.set(match number {
            1 => Value::Bool(match part.number()? {
                0 => false,
                1 => true,
                _ => return None,
            }),
            2 => Value::Long(part.number()? as i64),
            3 => Value::text(part.text()?)?,
            _ if depth >= MAX_DEPTH => return None,
            4 => {
                let mut elements = Vec::new();
                parts(part.bytes()?, |number, part| {
                    (number == 1 && elements.len() < MAX_ELEMENTS).then_some(())?;
                    elements.push(value_of(part.bytes()?, depth + 1)?);
                    Some(())
                })?;
                Value::Set(elements)
            }
            5 => {
                let mut entries = Vec::new();
                parts(part.bytes()?, |number, part| {
                    (number == 1).then_some(())?;
                    entry(part.bytes()?, depth + 1, &mut entries)
                })?;
                Value::Record(fields(entries)?)
            }
            6 => Value::Entity(uid_of(part.bytes()?)?),
            7 => {
                let (mut function, mut argument) = (Once::new(), Once::new());
                parts(part.bytes()?, |number, part| match number {
                    1 => function.set(part.text()?),
                    2 => argument.set(part.text()?),
                    _ => None,
                })?;
                Value::extension(function.0?, argument.0?)?
            }
            _ => return None,
        })
    })?;
    value.0
}

/// Whether a text is a tenant's name, as `placet.wire` has them.
fn tenant_name(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let is_name = bytes.first()?.is_ascii_alphanumeric()
        && bytes.len() <= 64
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte));
    is_name.then_some(text)
}

/// A field that may come once.
struct Once<T>(Option<T>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Once<T> {
    fn new() -> Self {
        Self(None)
    }

    fn set(&mut self, value: T) -> Option<()> {
        self.0.is_none().then(|| self.0 = Some(value))
    }
}

/// What a field holds, by the two of the encoding's forms that our messages have.
enum Part<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Part<'a> {
    fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Bytes(_) => None,
        }
    }

    fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Number(_) => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }

    fn text(&self) -> Option<&'a str> {
        from_utf8(self.bytes()?).ok()
    }
}

/// Go through the fields of a message.
fn parts<'a>(mut data: &'a [u8], mut each: impl FnMut(u64, Part<'a>) -> Option<()>) -> Option<()> {
    while !data.is_empty() {
        let (number, part) = next_part(&mut data)?;
        each(number, part)?;
    }
    Some(())
}

/// Cut off the next field: its number, and what it holds.
fn next_part<'a>(data: &mut &'a [u8]) -> Option<(u64, Part<'a>)> {
    let tag = varint(data)?;
    let part = match tag & 7 {
        0 => Part::Number(varint(data)?),
        2 => {
            let length = usize::try_from(varint(data)?).ok()?;
            let (bytes, rest) = data.split_at_checked(length)?;
            *data = rest;
            Part::Bytes(bytes)
        }
        _ => return None,
    };
    Some((tag >> 3, part))
}

/// Cut off a number, which has seven bits a byte, the lowest first.
fn varint(data: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for (place, byte) in data.iter().enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has the last bit.
        if place > 9 || (place == 9 && bits > 1) {
            return None;
        }
        number |= bits << (7 * place);
        if byte & 0x80 == 0 {
            *data = &data[place + 1..];
            return Some(number);
        }
    }
    None
}
