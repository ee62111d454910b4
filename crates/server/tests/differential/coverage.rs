//! Which fields of requests the scenarios set. A field that is said to act
//! (`crates/frontend/testdata/acting_fields.txt`) is set by a scenario, or
//! `unset_fields.txt` says where else it is shown to act.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

/// A message and one of its fields.
type Field = (String, String);

#[derive(Debug, Default)]
pub(crate) struct Coverage(Mutex<BTreeSet<Field>>);

impl Coverage {
    pub(crate) fn sent(&self, request: &DynamicMessage) {
        let mut set = BTreeSet::new();
        collect(request, &mut set);
        self.0.lock().expect("no panic").extend(set);
    }

    /// What is wrong after all scenarios were played.
    pub(crate) fn problems(&self, acting: &Path, elsewhere: &Path) -> String {
        let set = self.0.lock().expect("no panic");
        let (acting, elsewhere) = (listed(acting), listed(elsewhere));
        let unset = acting.iter().filter(|field| !set.contains(*field) && !elsewhere.contains(*field));
        let unset = unset.map(|(message, field)| format!("{message}.{field}: set by no scenario\n"));
        let stale = elsewhere.iter().filter(|field| set.contains(*field) || !acting.contains(*field));
        let stale = stale.map(|(message, field)| format!("{message}.{field}: need not be listed as unset\n"));
        unset.chain(stale).collect()
    }
}

/// Lines `MESSAGE: field field`, what follows a second colon is for people.
fn listed(path: &Path) -> BTreeSet<Field> {
    let text = std::fs::read_to_string(path).expect("the list");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut fields = BTreeSet::new();
    for line in lines {
        let mut parts = line.split(": ");
        let (message, names) = (parts.next().expect("a message"), parts.next().expect("fields"));
        fields.extend(names.split(' ').map(|name| (message.to_owned(), name.to_owned())));
    }
    fields
}

fn collect(message: &DynamicMessage, set: &mut BTreeSet<Field>) {
    for (field, value) in message.fields() {
        set.insert((message.descriptor().name().to_owned(), field.name().to_owned()));
        of_value(value, set);
    }
}

fn of_value(value: &Value, set: &mut BTreeSet<Field>) {
    match value {
        Value::Message(message) => collect(message, set),
        Value::List(values) => values.iter().for_each(|value| of_value(value, set)),
        Value::Map(values) => values.values().for_each(|value| of_value(value, set)),
        _ => {}
    }
}
