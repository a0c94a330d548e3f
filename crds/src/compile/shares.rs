//! A share of what is published for each namespace, so that the volume of one keeps no object of
//! another out.
//!
//! Of a namespace the oldest objects come first, and the newest that do not fit are refused. Where
//! all namespaces together want more than there is, the release's own comes first, and the others
//! have equal shares of the rest.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::installer::{Installer, Shares};
use crate::object::Object;
use crate::publication::{PART_BYTES_MAX, PARTS_MAX};

/// What all objects may take: the rest is for keys of providers and the head.
const ALL_BYTES_MAX: usize = (PARTS_MAX - 1) * PART_BYTES_MAX;
/// An object counts at least one of so many of its bytes, however well they compress: unpacked they
/// take memory.
const COMPRESSION_MAX: usize = 8;
const LEVEL: i32 = 1;

/// What an object takes of what is published: its bytes, compressed.
pub(super) fn size_of(content: &impl Serialize) -> usize {
    let json = serde_json::to_vec(content).unwrap_or_default();
    let packed = zstd::bulk::compress(&json, LEVEL).map_or(json.len(), |packed| packed.len());
    packed.max(json.len() / COMPRESSION_MAX)
}

/// An object, and what it takes as it is now and as it was served before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) object: &'a Object,
    pub(super) now: Option<usize>,
    pub(super) before: Option<usize>,
}

/// Whether there is room for an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// Why there is none for it as it is now.
    pub(super) refusal: Option<String>,
    /// Whether there is for what was served before, should that be served.
    pub(super) before: bool,
}

/// One place for each wish, in their order.
pub(super) fn places(installer: &Installer, wishes: &[Wish<'_>]) -> Vec<Place> {
    let Some(shares) = &installer.shares else {
        let free = Place {
            refusal: None,
            before: true,
        };
        return vec![free; wishes.len()];
    };
    let mut places = vec![Place::default(); wishes.len()];
    let (own, others): (Vec<Namespace<'_>>, _) =
        by_namespace(wishes).into_iter().partition(|namespace| {
            // Without an own namespace all are alike.
            installer.own_namespace.as_deref() == Some(namespace.name)
        });
    let unbounded = Shares {
        object_bytes: ALL_BYTES_MAX,
        namespace_bytes: ALL_BYTES_MAX,
        namespace_objects: usize::MAX,
    };
    let own = own
        .iter()
        .map(|own| own.fill(wishes, unbounded, &mut places));
    let left = ALL_BYTES_MAX.saturating_sub(own.sum());
    let wanted: Vec<usize> = others
        .iter()
        .map(|namespace| namespace.fill(wishes, *shares, &mut places))
        .collect();
    let level = level(&wanted, left);
    for (namespace, wanted) in others.iter().zip(wanted) {
        if wanted > level {
            let less = Shares {
                namespace_bytes: level,
                ..*shares
            };
            namespace.fill(wishes, less, &mut places);
        }
    }
    places
}

/// The objects of a namespace, the oldest first.
struct Namespace<'a> {
    name: &'a str,
    wishes: Vec<usize>,
}

fn by_namespace<'a>(wishes: &[Wish<'a>]) -> Vec<Namespace<'a>> {
    let mut namespaces: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, wish) in wishes.iter().enumerate() {
        let name = wish.object.id.namespace.as_str();
        namespaces.entry(name).or_default().push(index);
    }
    let namespaces = namespaces.into_iter().map(|(name, mut indexes)| {
        indexes.sort_by_key(|index| wishes[*index].object.age());
        Namespace {
            name,
            wishes: indexes,
        }
    });
    namespaces.collect()
}

impl Namespace<'_> {
    /// Gives places within `shares`; how much they take.
    fn fill(&self, wishes: &[Wish<'_>], shares: Shares, places: &mut [Place]) -> usize {
        let Shares {
            object_bytes,
            namespace_bytes,
            namespace_objects,
        } = shares;
        let (mut bytes, mut objects) = (0, 0);
        for index in &self.wishes {
            let Wish { now, before, .. } = wishes[*index];
            let fits = |size: usize| {
                size <= object_bytes
                    && bytes + size <= namespace_bytes
                    && objects < namespace_objects
            };
            let refusal = now.filter(|size| !fits(*size)).map(|size| {
                if size > object_bytes {
                    format!(
                        "it takes {size} bytes of what is published, and one object may take {object_bytes}: leave keys or certificates out, or ask the installer for a larger share"
                    )
                } else {
                    format!(
                        "older objects fill the share of namespace {}, {namespace_bytes} bytes and {namespace_objects} objects of what is published: remove some, or ask the installer for a larger share",
                        self.name
                    )
                }
            });
            let before = before.filter(|size| fits(*size));
            // What is refused for another reason later leaves what was served before, which may be
            // larger.
            let taken = match (&refusal, now) {
                (None, Some(now)) => Some(now.max(before.unwrap_or(0))),
                (Some(_), _) | (None, None) => before,
            };
            if let Some(taken) = taken {
                bytes += taken;
                objects += 1;
            }
            places[*index] = Place {
                refusal,
                before: before.is_some(),
            };
        }
        bytes
    }
}

/// The equal share of `left` for those that want more than it; the others have what they want.
fn level(wanted: &[usize], left: usize) -> usize {
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    let mut left = left;
    for (index, size) in wanted.iter().enumerate() {
        let share = left / (wanted.len() - index);
        if *size > share {
            return share;
        }
        left -= size;
    }
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SHARES: Shares = Shares {
        object_bytes: 100,
        namespace_bytes: 250,
        namespace_objects: 4,
    };

    fn installer() -> Installer {
        Installer {
            own_namespace: Some("own".to_owned()),
            shares: Some(SHARES),
            ..Installer::default()
        }
    }

    fn object(namespace: &str, number: usize) -> Object {
        let body = json!({
            "apiVersion": "vestibule.dev/v1alpha1",
            "kind": "OidcProvider",
            "metadata": {
                "name": format!("p{number}"),
                "namespace": namespace,
                "creationTimestamp": format!("2026-01-01T00:00:{number:02}Z"),
            },
        });
        Object::from_value(body, None).expect("an object")
    }

    /// For each object whether it is refused; sizes are given oldest first and shuffled by the
    /// order of the list.
    fn refused(objects: &[(&str, usize)]) -> Vec<bool> {
        let made: Vec<Object> = objects
            .iter()
            .enumerate()
            .map(|(number, (namespace, _))| object(namespace, number))
            .collect();
        let wishes: Vec<Wish<'_>> = made
            .iter()
            .zip(objects)
            .map(|(object, (_, size))| Wish {
                object,
                now: Some(*size),
                before: None,
            })
            .collect();
        let places = places(&installer(), &wishes);
        places.iter().map(|place| place.refusal.is_some()).collect()
    }

    #[test]
    fn the_newest_objects_of_a_full_namespace_are_refused_and_all_others_are_not() {
        let sizes = [
            ("a", 90),
            ("a", 90),
            ("b", 90),
            ("a", 90),
            ("own", 90),
            ("a", 50),
        ];
        assert_eq!(refused(&sizes), [false, false, false, true, false, false]);
    }

    #[test]
    fn an_object_that_is_too_large_is_refused_alone() {
        let sizes = [("a", 101), ("a", 100), ("own", 5000)];
        assert_eq!(refused(&sizes), [true, false, false]);
    }

    #[test]
    fn a_namespace_has_no_more_objects_than_its_share() {
        let sizes = [("a", 1), ("a", 1), ("a", 1), ("a", 1), ("a", 1), ("b", 1)];
        assert_eq!(refused(&sizes), [false, false, false, false, true, false]);
    }

    #[test]
    fn what_was_served_before_has_its_place_when_the_update_has_none() {
        let objects = [object("a", 0), object("a", 1)];
        let wishes = [
            Wish {
                object: &objects[0],
                now: Some(90),
                before: Some(90),
            },
            Wish {
                object: &objects[1],
                now: Some(5000),
                before: Some(90),
            },
        ];
        let places = places(&installer(), &wishes);
        assert!(
            places[1].refusal.is_some() && places[1].before,
            "{places:?}"
        );
    }

    #[test]
    fn namespaces_that_want_more_than_there_is_have_equal_shares_of_it() {
        assert_eq!(level(&[10, 50, 60], 200), usize::MAX);
        assert_eq!(level(&[10, 50, 60], 100), 45);
        assert_eq!(level(&[10, 20, 600], 100), 70);
        assert_eq!(level(&[], 0), usize::MAX);
    }

    #[test]
    fn a_thousand_full_namespaces_fit_into_what_is_published() {
        let shares = Shares::default();
        let installer = Installer {
            shares: Some(shares),
            ..installer()
        };
        let objects: Vec<Object> = (0..1000)
            .map(|number| object(&format!("n{number}"), 0))
            .collect();
        let wish = |object| Wish {
            object,
            now: Some(shares.object_bytes),
            before: None,
        };
        let wishes: Vec<Wish<'_>> = objects.iter().map(wish).collect();
        let places = places(&installer, &wishes);
        let served = places
            .iter()
            .filter(|place| place.refusal.is_none())
            .count();
        assert!(served * shares.object_bytes <= ALL_BYTES_MAX, "{served}");
    }

    #[test]
    fn what_compresses_well_counts_for_its_memory() {
        let long = "a".repeat(80_000);
        assert!(size_of(&long) >= 10_000);
    }
}
