//! Spin's key-value store.

use spin_sdk::key_value::Store;

use crate::shelf::Values;

/// The store of this label; `spin.toml` has to grant it.
const LABEL: &str = "default";

/// The application's key-value store.
pub struct SpinValues(Store);

impl SpinValues {
    /// Opens it.
    ///
    /// # Errors
    /// The application has none, for people.
    pub async fn open() -> Result<Self, String> {
        let advice = |error| format!("{error}; spin.toml has to grant it: key_value_stores = [\"{LABEL}\"]");
        Store::open(LABEL).await.map(Self).map_err(|error| advice(told(error)))
    }
}

fn told(error: spin_sdk::key_value::Error) -> String {
    format!("the key-value store {LABEL} fails: {error:?}")
}

impl Values for SpinValues {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        self.0.get(key).await.map_err(told)
    }

    async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), String> {
        self.0.set(key, value).await.map_err(told)
    }

    async fn delete(&self, key: &str) -> Result<(), String> {
        self.0.delete(key).await.map_err(told)
    }

    async fn keys(&self) -> Result<Vec<String>, String> {
        self.0.get_keys().await.collect().await.map_err(told)
    }
}
