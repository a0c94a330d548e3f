//! Geolocation: where an address is, by databases that the operator of the data plane supplies
//! (MaxMind DB format 2.0): the network's operator, the country, the place. What they do not say is
//! neutral.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use maxminddb::Reader;
use serde::Deserialize;

use vestibule_risk::Place;

/// How often the files are checked.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Of one file; all of it is held in memory. City databases have about 70 MiB.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// What is known of an address.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Location {
    /// Autonomous system number of the network's operator.
    pub asn: Option<u32>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<[u8; 2]>,
    pub place: Option<Place>,
}

#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct GeographyError {
    path: String,
    reason: String,
}

/// Databases, loaded again when a file changes.
#[derive(Default)]
pub struct Geography {
    databases: Vec<Database>,
}

impl fmt::Debug for Geography {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.databases.iter().map(|database| &database.path))
            .finish()
    }
}

struct Database {
    path: PathBuf,
    current: ArcSwap<Version>,
}

struct Version {
    stamp: FileTimes,
    reader: Reader<Vec<u8>>,
}

/// A file that was replaced or written has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileTimes {
    bytes: u64,
    modified: Option<SystemTime>,
}

/// As much of a record as is used, of a City, Country or ASN database.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(default)]
    autonomous_system_number: Option<u32>,
    #[serde(borrow, default)]
    country: Option<Country<'a>>,
    #[serde(default)]
    location: Option<Coordinates>,
}

#[derive(Deserialize)]
struct Country<'a> {
    #[serde(default)]
    iso_code: Option<&'a str>,
}

#[derive(Deserialize)]
struct Coordinates {
    #[serde(default)]
    latitude: Option<f64>,
    #[serde(default)]
    longitude: Option<f64>,
}

impl Geography {
    pub fn open(paths: &[PathBuf]) -> Result<Self, GeographyError> {
        let databases = paths.iter().map(|path| {
            Ok(Database {
                path: path.clone(),
                current: ArcSwap::from_pointee(Version::read(path)?),
            })
        });
        Ok(Self {
            databases: databases.collect::<Result<_, _>>()?,
        })
    }

    /// Of each fact the first database that has it.
    pub fn locate(&self, address: IpAddr) -> Location {
        let mut location = Location::default();
        for database in &self.databases {
            let version = database.current.load();
            let Some(found) = version.locate(address) else {
                continue;
            };
            location.asn = location.asn.or(found.asn);
            location.country = location.country.or(found.country);
            location.place = location.place.or(found.place);
        }
        location
    }

    /// Takes over files that have changed; those that cannot be used stay as they were.
    pub fn reload(&self) -> Vec<Result<&Path, GeographyError>> {
        let changed = self.databases.iter().filter_map(|database| {
            let stamp = FileTimes::of(&database.path);
            if matches!(&stamp, Ok(stamp) if *stamp == database.current.load().stamp) {
                return None;
            }
            Some(Version::read(&database.path).map(|version| {
                database.current.store(Arc::new(version));
                database.path.as_path()
            }))
        });
        changed.collect()
    }

    /// Looks for changes for ever.
    pub async fn watch(self: Arc<Self>) {
        if self.databases.is_empty() {
            return;
        }
        let mut complaints = Vec::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let this = Arc::clone(&self);
            let looking = tokio::task::spawn_blocking(move || {
                let results = this.reload().into_iter();
                results
                    .map(|result| result.map(|path| path.display().to_string()))
                    .collect::<Vec<_>>()
            });
            let results = looking.await.expect("a panic ends the process");
            let mut said = Vec::new();
            for result in results {
                match result {
                    Ok(path) => tracing::info!(path, "a new geolocation database is used"),
                    Err(error) => said.push(error.to_string()),
                }
            }
            for complaint in &said {
                if !complaints.contains(complaint) {
                    tracing::warn!(
                        error = complaint,
                        "a geolocation database changed but cannot be used: the last one is kept"
                    );
                }
            }
            complaints = said;
        }
    }
}

impl Version {
    fn read(path: &Path) -> Result<Self, GeographyError> {
        let failed = |reason: String| GeographyError {
            path: path.display().to_string(),
            reason,
        };
        let stamp = FileTimes::of(path).map_err(|error| failed(error.to_string()))?;
        if stamp.bytes > FILE_BYTES_MAX {
            return Err(failed(format!(
                "it has more than {} MiB",
                FILE_BYTES_MAX >> 20
            )));
        }
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let reader = Reader::from_source(bytes)
            .map_err(|error| failed(format!("no MaxMind database: {error}")))?;
        Ok(Self { stamp, reader })
    }

    /// A damaged record is none.
    fn locate(&self, address: IpAddr) -> Option<Location> {
        let found = self.reader.lookup(address).ok()?;
        let record: Record<'_> = found.decode().ok()??;
        let place = record.location.and_then(|at| {
            let (latitude, longitude) = (at.latitude?, at.longitude?);
            let on_earth = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
            on_earth.then_some(Place {
                latitude,
                longitude,
            })
        });
        let country = record.country.and_then(|country| country.iso_code);
        Some(Location {
            asn: record.autonomous_system_number,
            country: country.and_then(|code| code.as_bytes().try_into().ok()),
            place,
        })
    }
}

impl FileTimes {
    fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }
}

#[cfg(test)]
mod tests;
