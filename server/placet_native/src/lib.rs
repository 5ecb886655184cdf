//! Placet's native path: from a request to the policies that determine its verdict, without JSON
//! and without Python in between.
//!
//! It takes the ordinary request only. Whatever is out of the ordinary in any way (near a limit,
//! malformed, of a form not known here, an error of a policy) is answered by `None`, "not mine",
//! and the Python path does it from the beginning. So no message and no edge case is told twice,
//! and what is here stays small. Cedar itself is the crate, in the version Python's binding has.
//!
//! - `values`: what requests and entities are made of, as bytes for the cache's key and as Cedar's.
//! - `wire`: requests out of protobuf; `model`: out of Python's objects.
//! - `stored`: the entities a program knows. `policies`: the policies of a slice.
//! - `asked`: the request, and what is done with it.

mod asked;
mod model;
mod policies;
mod stored;
mod values;
mod wire;

use pyo3::prelude::*;

#[pymodule]
mod placet_native {
    use pyo3::prelude::*;
    use pyo3::types::PyDict;

    use crate::values::LIMITS;

    #[pymodule_export]
    use crate::asked::Asked;
    #[pymodule_export]
    use crate::model::read_model;
    #[pymodule_export]
    use crate::policies::Policies;
    #[pymodule_export]
    use crate::stored::Stored;

    #[pymodule_export]
    use crate::wire::{Batch, read_batch, read_request};

    /// What Python's side takes this for: see `placet_engine.native`.
    #[pymodule_export]
    const INTERFACE: u32 = 1;

    /// What is above these is Python's to judge; named as in `placet.wire`.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let limits = PyDict::new(module.py());
        for (name, limit) in LIMITS {
            limits.set_item(name, limit)?;
        }
        module.add("LIMITS", limits)
    }
}
