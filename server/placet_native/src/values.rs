//! What requests and entities are made of, as bytes and as Cedar's values.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use cedar_policy::{Context, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use smol_str::SmolStr;

/// Bounds below those that Python enforces: what is near a limit is Python's to judge.
pub const MAX_DEPTH: usize = 16;
pub const MAX_TEXT_BYTES: usize = 16_384;
pub const MAX_ID_BYTES: usize = 512;
pub const MAX_FIELDS: usize = 256;
pub const MAX_ELEMENTS: usize = 1024;
pub const MAX_ENTITIES: usize = 500;
pub const MAX_ITEMS: usize = 1000;
pub const MAX_MESSAGE_BYTES: usize = 1_000_000;

/// The same by the names that Python has for them.
pub const LIMITS: [(&str, usize); 7] = [
    ("max_depth", MAX_DEPTH),
    ("max_string_chars", MAX_TEXT_BYTES),
    ("max_id_chars", MAX_ID_BYTES),
    ("max_map_entries", MAX_FIELDS),
    ("max_set_elements", MAX_ELEMENTS),
    ("max_entities", MAX_ENTITIES),
    ("max_batch_items", MAX_ITEMS),
];

/// The name of one entity. Its type is well formed and its id is not empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Uid {
    pub kind: SmolStr,
    pub id: SmolStr,
}

impl Uid {
    pub fn new(kind: &str, id: &str) -> Option<Self> {
        let fits = !id.is_empty() && id.len() <= MAX_ID_BYTES && kind.len() <= MAX_ID_BYTES;
        (fits && is_type_name(kind)).then(|| Self {
            kind: kind.into(),
            id: id.into(),
        })
    }

    /// Whether Cedar takes it for an action, whose parents can only be actions.
    fn is_action(&self) -> bool {
        self.kind == "Action" || self.kind.ends_with("::Action")
    }

    pub fn to_cedar(&self) -> Option<EntityUid> {
        let kind = type_name(&self.kind)?;
        Some(EntityUid::from_type_name_and_id(
            kind,
            EntityId::new(&self.id),
        ))
    }
}

/// Whether a text has the form `User` or `Acme::User`.
fn is_type_name(text: &str) -> bool {
    text.split("::").all(|part| {
        let mut bytes = part.bytes();
        bytes
            .next()
            .is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
            && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    })
}

/// Types that are remembered as Cedar's: parsing a name takes Cedar longer than a decision.
const REMEMBERED_TYPES: usize = 1024;

thread_local! {
    static TYPES: RefCell<HashMap<SmolStr, EntityTypeName>> = RefCell::default();
}

fn type_name(kind: &SmolStr) -> Option<EntityTypeName> {
    TYPES.with_borrow_mut(|known| {
        if let Some(found) = known.get(kind) {
            return Some(found.clone());
        }
        let parsed = EntityTypeName::from_str(kind).ok()?;
        if known.len() >= REMEMBERED_TYPES {
            known.clear();
        }
        known.insert(kind.clone(), parsed.clone());
        Some(parsed)
    })
}

/// What makes a value of an extension type out of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constructor {
    Decimal,
    Ip,
    Datetime,
    Duration,
}

impl Constructor {
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "decimal" => Some(Self::Decimal),
            "ip" => Some(Self::Ip),
            "datetime" => Some(Self::Datetime),
            "duration" => Some(Self::Duration),
            _ => None,
        }
    }
}

/// Named values, in order of their names.
pub type Fields = Vec<(SmolStr, Value)>;

/// Put values in order. None if a name comes twice, or is one that Cedar's JSON form escapes by.
pub fn fields(mut fields: Fields) -> Option<Fields> {
    fields.sort_unstable_by(|left, right| left.0.cmp(&right.0));
    let is_escape = |name: &SmolStr| matches!(name.as_str(), "__entity" | "__extn" | "__expr");
    let twice = fields.windows(2).any(|pair| pair[0].0 == pair[1].0);
    (!twice && !fields.iter().any(|(name, _)| is_escape(name))).then_some(fields)
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    Long(i64),
    Text(SmolStr),
    Set(Vec<Value>),
    Record(Fields),
    Entity(Uid),
    Extension(Constructor, SmolStr),
}

impl Value {
    pub fn text(text: &str) -> Option<Self> {
        (text.len() <= MAX_TEXT_BYTES).then(|| Self::Text(text.into()))
    }

    pub fn extension(function: &str, argument: &str) -> Option<Self> {
        let constructor = Constructor::named(function)?;
        (argument.len() <= MAX_TEXT_BYTES).then(|| Self::Extension(constructor, argument.into()))
    }

    fn to_cedar(&self) -> Option<RestrictedExpression> {
        Some(match self {
            Self::Bool(value) => RestrictedExpression::new_bool(*value),
            Self::Long(value) => RestrictedExpression::new_long(*value),
            Self::Text(text) => RestrictedExpression::new_string(text.to_string()),
            Self::Set(elements) => {
                let elements: Option<Vec<_>> = elements.iter().map(Self::to_cedar).collect();
                RestrictedExpression::new_set(elements?)
            }
            Self::Record(fields) => RestrictedExpression::new_record(pairs(fields)?).ok()?,
            Self::Entity(uid) => RestrictedExpression::new_entity_uid(uid.to_cedar()?),
            Self::Extension(Constructor::Decimal, text) => RestrictedExpression::new_decimal(text),
            Self::Extension(Constructor::Ip, text) => RestrictedExpression::new_ip(text),
            Self::Extension(Constructor::Datetime, text) => {
                RestrictedExpression::new_datetime(text)
            }
            Self::Extension(Constructor::Duration, text) => {
                RestrictedExpression::new_duration(text)
            }
        })
    }

    /// Whether it is well formed whatever is in it: an extension's argument need not be.
    fn is_plain(&self) -> bool {
        match self {
            Self::Bool(_) | Self::Long(_) | Self::Text(_) | Self::Entity(_) => true,
            Self::Set(elements) => elements.iter().all(Self::is_plain),
            Self::Record(fields) => fields.iter().all(|(_, value)| value.is_plain()),
            Self::Extension(..) => false,
        }
    }

    fn gather_references(&self, found: &mut Vec<Uid>) {
        match self {
            Self::Entity(uid) => found.push(uid.clone()),
            Self::Set(elements) => elements
                .iter()
                .for_each(|inner| inner.gather_references(found)),
            Self::Record(fields) => gather_references(fields, found),
            _ => {}
        }
    }
}

/// Find the entities that values refer to.
pub fn gather_references(fields: &Fields, found: &mut Vec<Uid>) {
    for (_, value) in fields {
        value.gather_references(found);
    }
}

fn pairs(fields: &Fields) -> Option<Vec<(String, RestrictedExpression)>> {
    fields
        .iter()
        .map(|(name, value)| Some((name.to_string(), value.to_cedar()?)))
        .collect()
}

/// The context of a request, or of several.
#[derive(Debug, Default)]
pub struct Circumstances {
    pub fields: Fields,
    cedar: OnceLock<Option<Context>>,
}

impl Circumstances {
    pub fn new(fields: Fields) -> Self {
        Self {
            fields,
            cedar: OnceLock::new(),
        }
    }

    pub fn to_cedar(&self) -> Option<Context> {
        self.cedar
            .get_or_init(|| match self.fields.is_empty() {
                true => Some(Context::empty()),
                false => Context::from_pairs(pairs(&self.fields)?).ok(),
            })
            .clone()
    }
}

/// A subject, resource, action or group with its attributes, direct parents and tags.
#[derive(Debug)]
pub struct Entity {
    pub uid: Uid,
    pub attributes: Fields,
    pub parents: Vec<Uid>,
    pub tags: Fields,
    cedar: OnceLock<Option<cedar_policy::Entity>>,
}

impl Entity {
    pub fn new(uid: Uid, attributes: Fields, parents: Vec<Uid>, tags: Fields) -> Self {
        Self {
            uid,
            attributes,
            parents,
            tags,
            cedar: OnceLock::new(),
        }
    }

    /// Merge another entity of the same uid under this one.
    pub fn over(&self, weak: &Entity) -> Self {
        let mut parents = self.parents.clone();
        parents.extend(
            weak.parents
                .iter()
                .filter(|parent| !self.parents.contains(parent))
                .cloned(),
        );
        Self::new(
            self.uid.clone(),
            over(&self.attributes, &weak.attributes),
            parents,
            over(&self.tags, &weak.tags),
        )
    }

    /// Return it as Cedar's, made once.
    pub fn to_cedar(&self) -> Option<cedar_policy::Entity> {
        self.cedar.get_or_init(|| self.made_cedar()).clone()
    }

    fn made_cedar(&self) -> Option<cedar_policy::Entity> {
        if self.uid.is_action() && !self.parents.iter().all(Uid::is_action) {
            return None;
        }
        let parents: Option<HashSet<_>> = self.parents.iter().map(Uid::to_cedar).collect();
        cedar_policy::Entity::new_with_tags(
            self.uid.to_cedar()?,
            pairs(&self.attributes)?,
            parents?,
            pairs(&self.tags)?,
        )
        .ok()
    }
}

/// Return the fields of both; of those both have, the strong ones.
pub fn over(strong: &Fields, weak: &Fields) -> Fields {
    let has = |name: &SmolStr| {
        strong
            .binary_search_by(|(known, _)| known.cmp(name))
            .is_ok()
    };
    let mut merged = strong.clone();
    merged.extend(weak.iter().filter(|(name, _)| !has(name)).cloned());
    merged.sort_unstable_by(|left, right| left.0.cmp(&right.0));
    merged
}

/// The entities that came with a request: one for each uid.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    entities: Vec<Arc<Entity>>,
    /// Where each is, once there are too many to look through.
    places: HashMap<Uid, usize>,
}

const FEW: usize = 8;

impl Sent {
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Entity>> {
        self.entities.iter()
    }

    pub fn get(&self, uid: &Uid) -> Option<&Arc<Entity>> {
        self.place(uid).map(|place| &self.entities[place])
    }

    /// Add an entity, under what is known of its uid already.
    pub fn add(&mut self, entity: Arc<Entity>) {
        if let Some(place) = self.place(&entity.uid) {
            self.entities[place] = Arc::new(self.entities[place].over(&entity));
            return;
        }
        self.entities.push(entity);
        let indexed = self.places.len();
        if self.entities.len() > FEW {
            for (place, entity) in self.entities.iter().enumerate().skip(indexed) {
                self.places.insert(entity.uid.clone(), place);
            }
        }
    }

    fn place(&self, uid: &Uid) -> Option<usize> {
        if self.places.is_empty() {
            self.entities.iter().position(|known| known.uid == *uid)
        } else {
            self.places.get(uid).copied()
        }
    }
}

/// Bytes that are the same only for the same things. Nobody reads them.
#[derive(Default)]
pub struct Canonical(Vec<u8>);

impl Canonical {
    pub fn beginning(first: u8) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(first);
        Self(bytes)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub fn flag(&mut self, flag: bool) {
        self.0.push(flag.into());
    }

    pub fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    pub fn uid(&mut self, uid: &Uid) {
        self.text(&uid.kind);
        self.text(&uid.id);
    }

    pub fn uids(&mut self, uids: &[Uid]) {
        self.count(uids.len());
        uids.iter().for_each(|uid| self.uid(uid));
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(value) => self.0.extend_from_slice(&[0, (*value).into()]),
            Value::Long(value) => {
                self.0.push(1);
                self.0.extend_from_slice(&value.to_le_bytes());
            }
            Value::Text(text) => {
                self.0.push(2);
                self.text(text);
            }
            Value::Set(elements) => {
                self.0.push(3);
                self.count(elements.len());
                elements.iter().for_each(|element| self.value(element));
            }
            Value::Record(fields) => {
                self.0.push(4);
                self.fields(fields);
            }
            Value::Entity(uid) => {
                self.0.push(5);
                self.uid(uid);
            }
            Value::Extension(constructor, text) => {
                self.0.extend_from_slice(&[6, *constructor as u8]);
                self.text(text);
            }
        }
    }

    pub fn fields(&mut self, fields: &Fields) {
        self.count(fields.len());
        for (name, value) in fields {
            self.text(name);
            self.value(value);
        }
    }

    /// Write the fields with a name that counts.
    ///
    /// None if leaving out the others could hide something: their values may be malformed.
    pub fn kept(&mut self, fields: &Fields, names: &HashSet<SmolStr>) -> Option<()> {
        let kept = || fields.iter().filter(|(name, _)| names.contains(name));
        self.count(kept().count());
        for (name, value) in fields {
            if names.contains(name) {
                self.text(name);
                self.value(value);
            } else if !value.is_plain() {
                return None;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(id: &str) -> Uid {
        Uid::new("User", id).expect("a good name")
    }

    fn entity(id: &str, level: i64, parents: &[&str]) -> Arc<Entity> {
        let attributes = vec![("level".into(), Value::Long(level))];
        let parents = parents.iter().map(|id| uid(id)).collect();
        Arc::new(Entity::new(uid(id), attributes, parents, vec![]))
    }

    fn written(fields: &Fields) -> Vec<u8> {
        let mut bytes = Canonical::beginning(0);
        bytes.fields(fields);
        bytes.bytes().to_vec()
    }

    #[test]
    fn type_names_are_cedars() {
        for good in ["User", "_x::Y9", "A::B::C"] {
            assert!(is_type_name(good), "{good}");
        }
        for bad in ["", "9", "A::", "::A", "A:B", "A b", "Ä", "A::9"] {
            assert!(!is_type_name(bad), "{bad}");
        }
        // Well formed, but a word of Cedar's.
        assert_eq!(Uid::new("if", "x").and_then(|uid| uid.to_cedar()), None);
    }

    #[test]
    fn actions_are_in_actions_only() {
        let kinds = ["Action", "Acme::Action", "Actions", "Action::User"];
        let are = kinds.map(|kind| Uid::new(kind, "x").is_some_and(|uid| uid.is_action()));
        assert_eq!(are, [true, true, false, false]);
    }

    #[test]
    fn different_values_have_different_bytes() {
        let text = |text: &str| Value::Text(text.into());
        let values = [
            Value::Bool(true),
            Value::Long(1),
            text("1"),
            text("a"),
            Value::Set(vec![]),
            Value::Set(vec![text("a")]),
            Value::Set(vec![text("a"), text("")]),
            Value::Set(vec![Value::Set(vec![text("a")])]),
            Value::Record(vec![]),
            Value::Record(vec![("a".into(), text(""))]),
            Value::Record(vec![("".into(), text("a"))]),
            Value::Entity(uid("a")),
            Value::Extension(Constructor::Ip, "a".into()),
            Value::Extension(Constructor::Decimal, "a".into()),
        ];
        let all: HashSet<Vec<u8>> = values
            .iter()
            .map(|value| written(&vec![("v".into(), value.clone())]))
            .collect();
        assert_eq!(all.len(), values.len());
    }

    #[test]
    fn what_may_be_malformed_is_never_left_out() {
        let names = HashSet::from(["read".into()]);
        let kept = |unread: Value| {
            let fields = vec![("unread".into(), unread), ("read".into(), Value::Long(1))];
            let mut bytes = Canonical::beginning(0);
            bytes.kept(&fields, &names).map(|()| bytes.bytes().to_vec())
        };
        let address = Value::Extension(Constructor::Ip, "nowhere".into());

        assert!(kept(Value::Bool(true)).is_some());
        assert_eq!(kept(Value::Bool(true)), kept(Value::Long(7)));
        assert_eq!(kept(address.clone()), None);
        assert_eq!(kept(Value::Set(vec![address.clone()])), None);
        assert_eq!(kept(Value::Record(vec![("a".into(), address)])), None);
    }

    #[test]
    fn of_one_uid_there_is_one_entity_and_the_first_is_stronger() {
        // Few are looked through, many are indexed.
        for others in [0, 2 * FEW as i64] {
            let mut sent = Sent::default();
            sent.add(entity("a", 1, &["g"]));
            for number in 0..others {
                sent.add(entity(&format!("other{number}"), number, &[]));
            }
            sent.add(entity("a", 2, &["g", "h"]));
            let merged = sent.get(&uid("a")).expect("it was added");

            assert_eq!(sent.iter().len() as i64, 1 + others);
            assert_eq!(merged.attributes, [("level".into(), Value::Long(1))]);
            assert_eq!(merged.parents, [uid("g"), uid("h")]);
            assert!(sent.get(&uid("nobody")).is_none());
        }
    }
}
