//! The schema: made, made again, by several at once, looked at, and refused.

use semel::storage::record_codec::{Codec, FormatVersion};
use semel::storage::scylla::schema::{self, Product};
use semel::storage::scylla::{ConnectError, ScyllaStore, Settings};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::cluster::{Cluster, DATACENTER};
use crate::database::{Database, SetClock, replication};

fn elsewhere(cluster: &Cluster) -> Settings {
    Settings::new(cluster.contact_points(), format!("k{}", Uuid::new_v4().simple()))
}

/// What is applied is what is printed, once; the second time there is nothing to do.
pub(crate) fn a_schema_is_applied_once(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(async {
        let settings = elsewhere(cluster);
        let one = replication(1);
        let applied = schema::apply(&settings, Some(&one)).await.expect("it is applied");
        assert_eq!((applied.from, applied.state.number), (0, schema::LATEST));
        assert_eq!(applied.state.record_format, FormatVersion::LATEST);
        assert_eq!(applied.state.database.product, Product::Cassandra);
        assert!(applied.state.database.version.starts_with("5.0."), "{}", applied.state.database);
        let printed = schema::print(&settings.keyspace, &one, &applied.state.database);
        let made = |statements: &[String]| {
            statements.iter().filter(|s| s.starts_with("CREATE")).cloned().collect::<Vec<_>>()
        };
        assert_eq!(made(&applied.statements), made(&printed));

        let again = schema::apply(&settings, None).await.expect("it is applied again");
        assert_eq!((again.from, again.statements.len()), (schema::LATEST, 0));
        assert_eq!(schema::check(&settings).await.expect("it is checked"), again.state);
        let advice = again.state.advice.join("\n");
        assert!(advice.contains("commitlog_sync periodic") && !advice.contains("paxos_variant"), "{advice}");

        // By hand, as it is printed.
        let by_hand = Database::new(cluster).await;
        let other = elsewhere(cluster);
        for statement in schema::print(&other.keyspace, &one, &again.state.database) {
            by_hand.execute(&statement).await;
        }
        assert_eq!(schema::check(&other).await.expect("it is checked"), again.state);

        // A later release makes what is missing and leaves the format to the servers of this one, also where a step is due.
        let next = Settings { codec: Codec::NEXT, ..other.clone() };
        let prepared = schema::prepare(&next, None).await.expect("it is prepared");
        assert_eq!((prepared.state.record_format, prepared.statements.len()), (FormatVersion::LATEST, 0));
        let undone = format!("UPDATE {}.schema_version SET number = 0 WHERE part = 'semel'", other.keyspace);
        by_hand.execute(&undone).await;
        let prepared = schema::prepare(&next, None).await.expect("it is prepared");
        assert_eq!((prepared.from, prepared.state.record_format), (0, FormatVersion::LATEST));
        schema::check(&other).await.expect("a server of this release opens it");
        let first = schema::prepare(&Settings { codec: Codec::NEXT, ..elsewhere(cluster) }, Some(&one)).await;
        assert_eq!(
            first.expect("it is made").state.record_format,
            FormatVersion::NEXT,
            "nobody wrote another"
        );

        // It raises the format, once.
        let raised = schema::apply(&next, None).await.expect("it is raised");
        assert_eq!((raised.state.record_format, raised.statements.len()), (FormatVersion::NEXT, 1));
        assert_eq!(schema::apply(&next, None).await.expect("it stays").statements.len(), 0);
        let refused = schema::apply(&other, None).await.expect_err("an earlier release does not lower it");
        assert!(matches!(refused, ConnectError::SchemaTooNew { .. }), "{refused}");
    });
}

/// One does it, and the others say that it is being done, or find it done.
pub(crate) fn several_at_once_apply_it_once(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(async {
        let database = Database::new(cluster).await;
        // All but the first table is gone.
        for statement in [
            "UPDATE KS.schema_version SET number = 0 WHERE part = 'semel'",
            "DROP TABLE KS.record",
            "DROP TABLE KS.hint",
            "DROP TABLE KS.hint_bucket",
        ] {
            database.execute(statement).await;
        }
        let all = (0..4).map(|_| schema::apply(&database.settings, None));
        let mut worked = 0;
        for answer in futures_util::future::join_all(all).await {
            match answer {
                Ok(applied) => worked += usize::from(applied.from == 0),
                Err(ConnectError::BeingApplied { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(worked, 1);
        let claims = database.ask::<(Option<Uuid>,)>("SELECT applying FROM KS.schema_version").await;
        assert_eq!(claims, [(None,)], "nobody holds it");
        schema::check(&database.settings).await.expect("it is whole");
    });
}

/// What a store does not open on, in words that say what to do.
pub(crate) fn what_will_not_do_is_refused(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(async {
        let database = Database::new(cluster).await;
        let good = database.settings.clone();
        let error = async |settings: Settings| {
            let error = ScyllaStore::connect(settings, SetClock::at(1)).await.expect_err("it does not open");
            (error.may_pass(), error.to_string())
        };
        let nobody = "127.1.1.1:1".to_owned();
        for (settings, may_pass, parts) in [
            (Settings { nodes: vec![], ..good.clone() }, false, &["no node"][..]),
            (Settings { nodes: vec![nobody.clone()], ..good.clone() }, true, &["127.1.1.1:1", "refused"]),
            (
                Settings { nodes: vec!["no-such-host.invalid".to_owned()], ..good.clone() },
                true,
                &["no-such-host.invalid"],
            ),
            (Settings { keyspace: "a-b".to_owned(), ..good.clone() }, false, &["'a-b'", "letters"]),
            (
                Settings { keyspace: "nowhere".to_owned(), ..good.clone() },
                false,
                &["'nowhere'", "semel schema apply", DATACENTER],
            ),
            (
                Settings { keyspace: "system_auth".to_owned(), ..good.clone() },
                false,
                &["'system_auth'", "semel schema apply"],
            ),
            (
                Settings { datacenter: Some("mars".to_owned()), ..good.clone() },
                false,
                &["'mars'", DATACENTER],
            ),
        ] {
            let (passes, text) = error(settings).await;
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
            assert_eq!(passes, may_pass, "{text}");
        }
        // One of the nodes will do.
        let nodes = [vec![nobody], good.nodes.clone()].concat();
        database.store_with(Settings { nodes, ..good.clone() }, &SetClock::at(1)).await;
        let elsewhere = schema::apply(&elsewhere(cluster), None).await.expect_err("no replication is given");
        assert!(matches!(elsewhere, ConnectError::NoKeyspace { .. }), "{elsewhere}");

        for (set, parts) in [
            ("number = 0", &["number 0", "semel schema apply"][..]),
            ("number = 7, usable_from = 7", &["number 7", "later"]),
            ("usable_from = 1, record_format = 9", &["format 9", "later"]),
        ] {
            database.execute(&format!("UPDATE KS.schema_version SET {set} WHERE part = 'semel'")).await;
            let (passes, text) = error(good.clone()).await;
            assert!(!passes && parts.iter().all(|part| text.contains(part)), "{text}");
        }
        // A later schema that this release can work with is one.
        database
            .execute("UPDATE KS.schema_version SET number = 7, record_format = 1 WHERE part = 'semel'")
            .await;
        database.store(&SetClock::at(1)).await;
        database.execute("DROP TABLE KS.schema_version").await;
        assert!(error(good).await.1.contains("no tables of semel's"));
    });
}
