//! Spin's own interfaces, as `spin-sdk` 7 asks for them: key-value stores and variables.

use std::collections::BTreeMap;
use std::future::ready;
use std::io;
use std::sync::Arc;

use wasmtime::component::{Accessor, FutureReader, HasData, Linker, Resource, ResourceTable, StreamReader};
use wasmtime::{AsContextMut, Result};

use self::spin::key_value::key_value;
use self::spin::variables::variables;
use super::guest::Guest;
use super::shelf::Shelf;
use super::tally::Tally;
use super::variables::check_name;

wasmtime::component::bindgen!({
    inline: "
        package dayfly:spin-platform;

        world imports {
            import spin:key-value/key-value@3.0.0;
            import spin:variables/variables@3.0.0;
        }

        package spin:key-value@3.0.0 {
            interface key-value {
                resource store {
                    open: static async func(label: string) -> result<store, error>;
                    get: async func(key: string) -> result<option<list<u8>>, error>;
                    set: async func(key: string, value: list<u8>) -> result<_, error>;
                    delete: async func(key: string) -> result<_, error>;
                    exists: async func(key: string) -> result<bool, error>;
                    get-keys: async func() -> tuple<stream<string>, future<result<_, error>>>;
                }
                variant error {
                    store-table-full,
                    no-such-store,
                    access-denied,
                    other(string),
                }
            }
        }

        package spin:variables@3.0.0 {
            interface variables {
                get: async func(name: string) -> result<string, error>;
                variant error {
                    invalid-name(string),
                    undefined(string),
                    provider(string),
                    other(string),
                }
            }
        }
    ",
    world: "dayfly:spin-platform/imports",
    imports: { default: trappable },
    with: { "spin:key-value/key-value.store": OpenStore },
    require_store_data_send: true,
});

/// How many stores an instance may have open at a time, as in Spin.
const OPEN_STORES_MAX: u32 = 256;

/// A store that a guest has opened.
pub struct OpenStore;

/// What an instance sees of Spin's interfaces.
pub struct Offered {
    /// The application's store.
    pub shelf: Shelf,
    /// The labels that the component may open stores by.
    pub labels: Arc<[String]>,
    /// The component's variables.
    pub variables: Arc<BTreeMap<String, String>>,
    /// Where it is counted.
    pub tally: Arc<Tally>,
    /// How many stores are open.
    pub open: u32,
}

/// [`Offered`] together with the table of what guests hold.
pub struct OfferedView<'a> {
    offered: &'a mut Offered,
    table: &'a mut ResourceTable,
}

/// Names [`OfferedView`] for the linker.
pub struct HasOffered;

impl HasData for HasOffered {
    type Data<'a> = OfferedView<'a>;
}

/// Adds both interfaces.
///
/// # Errors
/// They are there already.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> Result<()> {
    fn view(guest: &mut Guest) -> OfferedView<'_> {
        OfferedView { offered: &mut guest.offered, table: &mut guest.table }
    }
    key_value::add_to_linker::<_, HasOffered>(linker, view)?;
    variables::add_to_linker::<_, HasOffered>(linker, view)
}

/// The store of the application and its counters, for a call that the guest may make while it does something else.
fn shelf<T>(accessor: &Accessor<T, HasOffered>) -> (Shelf, Arc<Tally>) {
    accessor.with(|mut access| {
        let view = access.get();
        (view.offered.shelf.clone(), Arc::clone(&view.offered.tally))
    })
}

/// Does something with the file system elsewhere, so that other instances go on.
async fn elsewhere<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<Result<T, key_value::Error>> {
    let done = tokio::task::spawn_blocking(work).await?;
    Ok(done.map_err(|error| key_value::Error::Other(error.to_string())))
}

impl key_value::Host for OfferedView<'_> {}

impl key_value::HostStore for OfferedView<'_> {
    fn drop(&mut self, store: Resource<OpenStore>) -> Result<()> {
        self.table.delete(store)?;
        self.offered.open -= 1;
        Ok(())
    }
}

impl<T: Send> key_value::HostStoreWithStore<T> for HasOffered {
    async fn open(
        accessor: &Accessor<T, Self>,
        label: String,
    ) -> Result<Result<Resource<OpenStore>, key_value::Error>> {
        accessor.with(|mut access| {
            let view = access.get();
            // Labels that the application does not have are refused when it starts, so none of those that it may open
            // is `no-such-store`.
            if !view.offered.labels.contains(&label) {
                return Ok(Err(key_value::Error::AccessDenied));
            }
            if view.offered.open == OPEN_STORES_MAX {
                return Ok(Err(key_value::Error::StoreTableFull));
            }
            let store = view.table.push(OpenStore)?;
            view.offered.open += 1;
            Ok(Ok(store))
        })
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        _store: Resource<OpenStore>,
        key: String,
    ) -> Result<Result<Option<Vec<u8>>, key_value::Error>> {
        let (shelf, tally) = shelf(accessor);
        let value = elsewhere(move || shelf.get(&key)).await?;
        if let Ok(value) = &value {
            let mut kv = tally.kv.lock().unwrap();
            kv.gets += 1;
            kv.get_bytes += value.as_ref().map_or(0, |value| value.len() as u64);
        }
        Ok(value)
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        _store: Resource<OpenStore>,
        key: String,
        value: Vec<u8>,
    ) -> Result<Result<(), key_value::Error>> {
        let (shelf, tally) = shelf(accessor);
        let bytes = value.len() as u64;
        let done = elsewhere(move || shelf.set(&key, value)).await?;
        if done.is_ok() {
            let mut kv = tally.kv.lock().unwrap();
            kv.sets += 1;
            kv.set_bytes += bytes;
        }
        Ok(done)
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        _store: Resource<OpenStore>,
        key: String,
    ) -> Result<Result<(), key_value::Error>> {
        let (shelf, tally) = shelf(accessor);
        let done = elsewhere(move || shelf.delete(&key)).await?;
        if done.is_ok() {
            tally.kv.lock().unwrap().deletes += 1;
        }
        Ok(done)
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        _store: Resource<OpenStore>,
        key: String,
    ) -> Result<Result<bool, key_value::Error>> {
        let (shelf, _) = shelf(accessor);
        elsewhere(move || Ok(shelf.get(&key)?.is_some())).await
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        _store: Resource<OpenStore>,
    ) -> Result<(StreamReader<String>, FutureReader<Result<(), key_value::Error>>)> {
        let (shelf, _) = shelf(accessor);
        let (keys, end) = match elsewhere(move || shelf.keys()).await? {
            Ok(keys) => (keys, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        accessor.with(|mut access| {
            let keys = StreamReader::new(access.as_context_mut(), keys)?;
            let end = FutureReader::new(access.as_context_mut(), ready(Ok::<_, wasmtime::Error>(end)))?;
            Ok((keys, end))
        })
    }
}

impl variables::Host for OfferedView<'_> {}

impl<T: Send> variables::HostWithStore<T> for HasOffered {
    async fn get(accessor: &Accessor<T, Self>, name: String) -> Result<Result<String, variables::Error>> {
        if let Err(reason) = check_name(&name) {
            return Ok(Err(variables::Error::InvalidName(reason.to_string())));
        }
        let value = accessor.with(|mut access| access.get().offered.variables.get(&name).cloned());
        Ok(value.ok_or_else(|| variables::Error::Undefined(format!("no variable for {name:?}"))))
    }
}
