//! Who may send what to whom.

use vioduct_certs::identity::Role;
use vioduct_runtime::{Access, ActorRef, AskError, NotDelivered};

use crate::support::{Add, Counter, Gate, SOON, WhoAmI, find, name, pair_with};

#[tokio::test]
async fn what_is_not_exported_is_taken_from_nobody_and_what_is_from_those_named() {
    let roles = Access::roles([Role::Vios, Role::Db]);
    for (held, access, is_allowed) in [
        (vec![Role::Vios], roles.clone(), true),
        (vec![Role::Phyp], roles.clone(), false),
        (vec![], roles, false),
        (vec![], Access::nodes(), true),
        (vec![], Access::tools(), false),
        (vec![], Access::node("a".parse().unwrap()), true),
        (vec![], Access::node("b".parse().unwrap()), false),
        (vec![], Access::tools().or(Access::node("a".parse().unwrap())), true),
    ] {
        let (a, b) = pair_with(held.iter().copied().collect()).await;
        let (gate, said) = (Gate::new(), format!("{held:?}"));
        let builder = b.actor(move || Counter::new(&gate)).named(name("counter"));
        builder.accept::<Add>(access).start().await.unwrap();
        let counter: ActorRef<Counter> = find(&a, &b, "counter").await;
        let actor = counter.id().clone();
        let asked = counter.ask(Add(1), SOON).await;
        if is_allowed {
            assert_eq!(asked, Ok(1), "{said}");
        } else {
            let denied = NotDelivered::AccessDenied { actor: actor.clone(), message: "test.Add" };
            assert_eq!(asked, Err(AskError::NotDelivered(denied)), "{said}");
        }
        let closed = NotDelivered::NotExported { actor, message: "test.WhoAmI" };
        assert_eq!(counter.ask(WhoAmI, SOON).await, Err(AskError::NotDelivered(closed)));
    }
}
