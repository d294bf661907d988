//! Actors that start others of their own.

use std::sync::Arc;

use actix::fut::WrapFuture;
use actix::{Actor, AsyncContext, Context, Handler, Message};
use tokio::sync::watch;
use vioduct_runtime::{ActorHandle, EndReason, LocalRef, RestartPolicy, StartError, myself};

use crate::support::{Gate, SOON, name, pair};

/// The children of one parent's lives, in the order of their starts.
type Nursery = watch::Sender<Vec<LocalRef<Child>>>;

struct Parent {
    born: Arc<Nursery>,
    policy: RestartPolicy,
}

impl Actor for Parent {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let child = myself::<Self>().unwrap().child(|| Child);
        let (born, policy) = (Arc::clone(&self.born), self.policy);
        let start = async move {
            let child = child.named(name("child")).restart(policy).start().await.unwrap();
            born.send_modify(|children| children.extend(child.now()));
        };
        ctx.wait(start.into_actor(self));
    }
}

struct Child;

impl Actor for Child {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Nothing;

impl Handler<Nothing> for Child {
    type Result = ();

    fn handle(&mut self, _nothing: Nothing, _ctx: &mut Self::Context) {}
}

async fn born(nursery: &Nursery, number: usize) -> LocalRef<Child> {
    let mut born = nursery.subscribe();
    let children = tokio::time::timeout(SOON, born.wait_for(|born| born.len() >= number)).await;
    children.unwrap().unwrap().get(number - 1).unwrap().clone()
}

async fn family(
    policy: RestartPolicy,
) -> (vioduct_runtime::Node, ActorHandle<Parent>, Arc<Nursery>) {
    let (_a, node) = pair().await;
    let nursery = Arc::new(Nursery::default());
    let lent = Arc::clone(&nursery);
    let parent = node.actor(move || Parent { born: Arc::clone(&lent), policy });
    let parent = parent.start().await.unwrap();
    (node, parent, nursery)
}

#[tokio::test]
async fn a_child_ends_with_its_parents_life_and_the_next_life_has_one_of_its_own() {
    let (_node, parent, nursery) = family(RestartPolicy::default()).await;
    let first = born(&nursery, 1).await;
    assert_eq!(first.ask(Nothing, SOON).await, Ok(()));
    parent.now().unwrap().fail("on purpose");
    assert_eq!(first.ended().await, EndReason::Stopped);
    let second = born(&nursery, 2).await;
    assert_eq!(second.ask(Nothing, SOON).await, Ok(()));
    parent.stop().await;
    assert_eq!(second.ended().await, EndReason::Stopped);
}

#[tokio::test]
async fn parent_and_children_are_seen_in_an_inspection() {
    let (node, parent, nursery) = family(RestartPolicy::default()).await;
    let child = born(&nursery, 1).await.id().serial;
    let parent = parent.now().unwrap().id().serial;
    let families: Vec<_> =
        node.inspect().actors.iter().map(|it| (it.serial, it.parent, it.children)).collect();
    assert_eq!(families, [(parent, None, 1), (child, Some(parent), 0)]);
}

#[tokio::test]
async fn a_child_that_is_given_up_makes_its_parent_fail() {
    let (_node, parent, nursery) = family(RestartPolicy::never()).await;
    let child = born(&nursery, 1).await;
    let life = parent.now().unwrap();
    child.fail("on purpose");
    let EndReason::Failed(reason) = life.ended().await else { panic!("the parent did not fail") };
    assert_eq!(reason, "its child child was given up: failed: on purpose");
    assert_eq!(born(&nursery, 2).await.ask(Nothing, SOON).await, Ok(()));
}

#[tokio::test]
async fn a_child_of_a_node_that_is_gone_does_not_start() {
    let (node, parent, _nursery) = family(RestartPolicy::default()).await;
    let life = parent.now().unwrap();
    node.shutdown(SOON).await;
    drop(node);
    let gate = Gate::new();
    let late = life.child(move || crate::support::Counter::new(&gate)).start().await;
    assert_eq!(late.unwrap_err(), StartError::Closing);
}
