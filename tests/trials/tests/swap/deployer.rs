//! Who puts, activates, rolls back and removes versions.

use futures_util::stream;
use serde_json::json;
use tape_connector_tests::{component, marked};
use tape_proto::v1 as pb;
use tape_proto::v1::put_connector_request::Part;
use tape_trials::{Answer, Caller};

/// The configuration of a version that traps: before anything leaves, or just after the wire was booked.
fn trap_config(bank: &str, after_the_wire: bool) -> String {
    let body = r#"{"to":"Bob","amount":"1.00","currency":"EUR","reference":"{{business_key}}"}"#;
    let wire = json!({"send": {"method": "POST", "url": format!("{bank}/wires"), "body": body,
        "headers": [["content-type", "application/json"]]}});
    let mut steps = vec![json!({"panic": "as it was told"})];
    if after_the_wire {
        steps.insert(0, wire);
    }
    json!({
        "name": "bank", "version": "0.0.0", "contract": "1.0.0", "summary": "traps",
        "operations": [{"name": "wire", "semantics": "NON_IDEMPOTENT"}],
        "supports": {"observe": true, "compensate": true},
        "always": {"steps": steps, "answer": {"unknown": {"reason": "never said"}}},
    })
    .to_string()
}

pub(crate) struct Deployer {
    pub(crate) caller: Caller,
    pub(crate) bank: String,
}

impl Deployer {
    pub(crate) async fn put(&self, version: &str, component: Vec<u8>, config_json: String) -> String {
        let host = self
            .bank
            .trim_start_matches("http://")
            .rsplit_once(':')
            .expect("a port");
        let header = pb::PutConnectorHeader {
            name: "bank".into(),
            version: version.into(),
            config_json,
            grants: Some(pb::ConnectorGrants {
                hosts: vec![pb::HostGrant {
                    scheme: "http".into(),
                    host: host.0.into(),
                    port: host.1.parse().expect("a port"),
                    methods: vec!["GET".into(), "POST".into()],
                    ..Default::default()
                }],
                limits: Some(pb::ConnectorLimits {
                    concurrent_calls: 64,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            who: "trial".into(),
            ..Default::default()
        };
        let parts = std::iter::once(Part::Header(header))
            .chain(component.chunks(512 * 1024).map(|chunk| Part::Chunk(chunk.to_vec())));
        let parts: Vec<_> = parts.map(|part| pb::PutConnectorRequest { part: Some(part) }).collect();
        let answer = self
            .caller
            .connectors
            .clone()
            .put_connector(tonic::Request::new(stream::iter(parts)))
            .await;
        answer
            .expect("it is put")
            .into_inner()
            .version
            .expect("a version")
            .digest
    }

    pub(crate) async fn put_bank(&self, version: &str) -> String {
        self.put(
            version,
            marked("tape-connector-bank", version),
            json!({ "base_url": self.bank }).to_string(),
        )
        .await
    }

    pub(crate) async fn put_trap(&self, version: &str, after_the_wire: bool) -> String {
        self.put(
            version,
            component("tape-connector-probe"),
            trap_config(&self.bank, after_the_wire),
        )
        .await
    }

    pub(crate) async fn try_activate(&self, version: &str, weight: i32) -> Answer<pb::ActivateVersionResponse> {
        let request = pb::ActivateVersionRequest {
            name: "bank".into(),
            version: version.into(),
            weight,
            ..Default::default()
        };
        Answer::of(self.caller.connectors.clone().activate_version(request).await)
    }

    pub(crate) async fn activate(&self, version: &str, weight: i32) {
        match self.try_activate(version, weight).await {
            Answer::Yes(_) => {}
            other => panic!("{version} is not activated: {other:?}"),
        }
    }

    pub(crate) async fn rollback(&self, from: &str) -> String {
        let request = pb::RollbackRequest {
            name: "bank".into(),
            from_version: from.into(),
            ..Default::default()
        };
        let answer = self
            .caller
            .connectors
            .clone()
            .rollback(request)
            .await
            .expect("rolled back");
        answer.into_inner().active.expect("a version").version
    }

    pub(crate) async fn remove(&self, version: &str) {
        let request = pb::RemoveVersionRequest {
            name: "bank".into(),
            version: version.into(),
            force: true,
            ..Default::default()
        };
        assert!(
            self.caller
                .connectors
                .clone()
                .remove_version(request)
                .await
                .expect("removed")
                .into_inner()
                .removed
        );
    }

    /// Active versions with their shares, as the server has them.
    pub(crate) async fn active(&self) -> Vec<(String, i32)> {
        let request = pb::ListConnectorsRequest {
            name: "bank".into(),
            all_versions: true,
            ..Default::default()
        };
        let listed = self
            .caller
            .connectors
            .clone()
            .list_connectors(request)
            .await
            .expect("listed");
        let active = listed
            .into_inner()
            .versions
            .into_iter()
            .filter(|version| version.weight > 0);
        let mut active: Vec<_> = active.map(|version| (version.version, version.weight)).collect();
        active.sort();
        active
    }
}
