//! Which VIOSes a cluster has.

use std::collections::BTreeMap;

use tokio::sync::watch;
use vioduct_certs::identity::NodeName;

use crate::cluster::row::ViosRow;
use crate::cluster::view::View;
use crate::lpar::Entry;
use crate::redirect::name::ViosId;

/// Most VIOSes of a cluster.
pub const VIOSES_MAX: usize = 1024;

/// Where a VIOS is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its number, never that of another one.
    pub vios: ViosId,
    /// The node that it runs on.
    pub node: NodeName,
    /// The computing electronic complex that this node is part of.
    pub cec: u32,
}

/// Why a list of VIOSes is refused. Fault: the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Two have the same number.
    #[error("two VIOSes have the number {}", .0.0)]
    Number(ViosId),
    /// Two run on the same node.
    #[error("two VIOSes run on node {0}")]
    Node(NodeName),
    /// There are too many.
    #[error("{0} VIOSes; at most {VIOSES_MAX} are allowed")]
    Count(usize),
}

/// The VIOSes of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    places: Vec<Place>,
}

impl Layout {
    /// Of these VIOSes, in any order.
    ///
    /// # Errors
    /// [`LayoutError`]
    pub fn new(mut places: Vec<Place>) -> Result<Self, LayoutError> {
        if places.len() > VIOSES_MAX {
            return Err(LayoutError::Count(places.len()));
        }
        places.sort_by_key(|place| place.vios);
        let mut nodes = BTreeMap::new();
        for place in &places {
            if nodes.insert(&place.node, place).is_some() {
                return Err(LayoutError::Node(place.node.clone()));
            }
        }
        let pairs = places.iter().zip(places.iter().skip(1));
        if let Some((place, _same)) = pairs.clone().find(|(one, next)| one.vios == next.vios) {
            return Err(LayoutError::Number(place.vios));
        }
        Ok(Self { places })
    }

    /// Of those that have registered. Of two with one number, which no two should have, neither is
    /// any VIOS: what one of them holds must not be taken for the other's.
    #[must_use]
    pub fn of(view: &View) -> Self {
        let place = |(node, row): (NodeName, ViosRow)| {
            let cec = row.registered?.cec;
            Some(Place { vios: ViosId(row.number), node, cec })
        };
        let mut by_number: BTreeMap<ViosId, Vec<Place>> = BTreeMap::new();
        for place in view.all().filter_map(place) {
            by_number.entry(place.vios).or_default().push(place);
        }
        let alone = |(vios, places): (ViosId, Vec<Place>)| match <[Place; 1]>::try_from(places) {
            Ok([place]) => Some(place),
            Err(several) => {
                let nodes: Vec<_> = several.iter().map(|place| place.node.as_str()).collect();
                tracing::error!(vios = vios.0, ?nodes, "VIOSes of one number are passed over");
                None
            }
        };
        Self { places: by_number.into_iter().filter_map(alone).collect() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The VIOS that runs on this node.
    #[must_use]
    pub fn on(&self, node: &NodeName) -> Option<&Place> {
        self.places.iter().find(|place| place.node == *node)
    }

    /// The VIOSes by which a client of this CEC reaches an LU: those of its own CEC first, so that
    /// the LUs are spread over them, then the others.
    #[must_use]
    pub fn entries(&self, cec: u32, lu: u64) -> Vec<Entry> {
        let entry = |place: &Place| {
            let is_near = place.cec == cec;
            Entry { vios: place.vios, node: place.node.clone(), is_near }
        };
        let (mut own, mut others): (Vec<_>, Vec<_>) =
            self.places.iter().partition(|place| place.cec == cec);
        for places in [&mut own, &mut others] {
            let count = u64::try_from(places.len().max(1)).unwrap_or(u64::MAX);
            places.rotate_left(usize::try_from(lu % count).unwrap_or(0));
        }
        own.into_iter().chain(others).map(entry).collect()
    }
}

/// The VIOSes of a cluster as they come and go. A clone sees the same.
#[derive(Debug, Clone)]
pub struct Layouts(watch::Receiver<Layout>);

/// Those that never change.
impl From<Layout> for Layouts {
    fn from(layout: Layout) -> Self {
        Self(watch::channel(layout).1)
    }
}

impl Layouts {
    /// As they are told there.
    #[must_use]
    pub const fn new(told: watch::Receiver<Layout>) -> Self {
        Self(told)
    }

    /// How they are now. Held it keeps them from changing.
    #[must_use]
    pub fn now(&self) -> watch::Ref<'_, Layout> {
        self.0.borrow()
    }

    /// The number of the VIOS on this node.
    #[must_use]
    pub fn vios_on(&self, node: &NodeName) -> Option<ViosId> {
        self.now().on(node).map(|place| place.vios)
    }

    /// Waits until they differ from what this one saw last; for ever if they don't. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Waits until `find` finds among them what it looks for; for ever if it doesn't. Cancel-safe.
    pub async fn until<T>(&mut self, mut find: impl FnMut(&Layout) -> Option<T>) -> T {
        loop {
            let found = find(&self.0.borrow_and_update());
            if let Some(found) = found {
                return found;
            }
            self.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use vioduct_db::query::FoundRow;

    use super::*;
    use crate::cluster::row::{Registered, Row, UniqueId};

    fn place(vios: u32, cec: u32) -> Place {
        Place { vios: ViosId(vios), node: format!("v{vios}").parse().unwrap(), cec }
    }

    #[test]
    fn a_client_enters_by_its_own_cec_first_and_lus_are_spread() {
        let layout = Layout::new(vec![place(4, 2), place(1, 1), place(2, 1), place(3, 2)]).unwrap();
        let order = |lu| layout.entries(1, lu).iter().map(|entry| entry.vios.0).collect::<Vec<_>>();
        assert_eq!(order(0), [1, 2, 3, 4]);
        assert_eq!(order(7), [2, 1, 4, 3]);
        let near = layout.entries(1, 7).iter().map(|entry| entry.is_near).collect::<Vec<_>>();
        assert_eq!(near, [true, true, false, false]);
    }

    #[test]
    fn a_number_and_a_node_stand_for_one_vios() {
        let again = Layout::new(vec![place(1, 1), place(1, 1)]);
        assert_eq!(again, Err(LayoutError::Node("v1".parse().unwrap())));
        let other = Place { node: "x".parse().unwrap(), ..place(1, 1) };
        assert_eq!(Layout::new(vec![place(1, 1), other]), Err(LayoutError::Number(ViosId(1))));
    }

    #[test]
    fn of_two_that_took_one_number_in_the_database_neither_is_a_vios() {
        let registered = |cec| {
            let (unique, software) = (UniqueId([7; 16]), "1".to_owned());
            Some(Registered { unique, cec, software, incarnation: 1 })
        };
        let mut view = View::default();
        for (node, number, cec) in [("v1", 1, 1), ("v2", 2, 1), ("x", 2, 1), ("v3", 3, 2)] {
            let row = ViosRow { number, registered: registered(cec) };
            let (place, value) = (ViosRow::place(&node.parse().unwrap()), row.encode());
            view.set(FoundRow { place, revision: 1, value });
        }
        assert_eq!(Layout::of(&view), Layout::new(vec![place(1, 1), place(3, 2)]).unwrap());
    }
}
