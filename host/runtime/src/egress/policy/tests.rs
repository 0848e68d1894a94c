use super::*;

fn policy(host: &str) -> Policy {
    policy_with(host, &[])
}

fn policy_with(host: &str, methods: &[&str]) -> Policy {
    let grant = HostGrant {
        host: host.to_owned(),
        methods: methods.iter().map(|&method| method.to_owned()).collect(),
        private: false,
        read_only_paths: vec!["/search".to_owned()],
    };
    Policy::read(&Grants {
        hosts: vec![grant],
        ..Grants::default()
    })
    .unwrap()
}

fn allows(host: &str, url: &str) -> bool {
    Target::parse("GET", url)
        .and_then(|target| policy(host).permit(&target))
        .is_ok()
}

#[test]
fn a_grant_is_for_one_scheme_host_and_port() {
    assert!(allows("https://api.example.com", "https://api.example.com/v1"));
    assert!(allows("api.example.com", "https://API.example.com:443/v1"));
    assert!(allows("http://127.0.0.1:7900", "http://127.0.0.1:7900/wires"));
    assert!(allows("http://[::1]:80", "http://[::1]/"));
    for other in [
        "http://api.example.com/",
        "https://api.example.com:8443/",
        "https://example.com/",
        "https://x.api.example.com/",
    ] {
        assert!(!allows("https://api.example.com", other), "{other}");
    }
}

#[test]
fn a_suffix_grants_names_below_it_and_nothing_else() {
    assert!(allows("*.example.com", "https://a.example.com/"));
    assert!(allows("*.example.com", "https://a.b.example.com/"));
    for other in [
        "https://example.com/",
        "https://badexample.com/",
        "https://example.com.evil.org/",
        "https://10.0.0.1/",
    ] {
        assert!(!allows("*.example.com", other), "{other}");
    }
}

#[test]
fn an_address_in_disguise_is_still_that_address() {
    assert!(!allows("*.example.com", "https://0x7f000001/"));
    assert!(!allows("http://127.0.0.1:80", "http://127.0.0.2/"));
    assert!(allows("http://127.0.0.1:80", "http://2130706433/"));
}

#[test]
fn what_hides_in_a_url_is_refused() {
    for url in [
        "https://user:pw@a.example.com/",
        "ftp://a.example.com/",
        "https://a.example.com/?k={{secret:x}}",
        "nothing",
    ] {
        assert!(Target::parse("GET", url).is_err(), "{url}");
    }
    assert!(Target::parse("CONNECT", "https://a.example.com/").is_err());
    assert!(Target::parse("GE T", "https://a.example.com/").is_err());
}

#[test]
fn only_reading_is_safe() {
    let unsafe_method = |method: &str, path: &str| {
        let target = Target::parse(method, &format!("https://a.example.com{path}")).unwrap();
        let policy = policy_with("https://a.example.com", &["GET", "HEAD", "POST", "DELETE", "BREW"]);
        policy.permit(&target).unwrap().unsafe_method
    };
    assert!(!unsafe_method("GET", "/x") && !unsafe_method("HEAD", "/x") && !unsafe_method("get", "/x"));
    assert!(unsafe_method("POST", "/x") && unsafe_method("DELETE", "/x") && unsafe_method("BREW", "/x"));
    assert!(!unsafe_method("POST", "/search?q=1") && unsafe_method("POST", "/search/1"));
}

#[test]
fn a_grant_without_methods_grants_reading() {
    let permit = |method: &str| {
        policy("https://a.example.com").permit(&Target::parse(method, "https://a.example.com/").unwrap())
    };
    assert!(permit("GET").is_ok() && permit("HEAD").is_ok());
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
        let refusal = permit(method).unwrap_err().0;
        assert!(
            refusal.starts_with(&format!(
                "method {method} is not granted for host `https://a.example.com:443`, only GET, HEAD;"
            )) && refusal.contains(&format!("--grant https://a.example.com={method}")),
            "{refusal}"
        );
    }
}

#[test]
fn a_refusal_names_the_grant() {
    let target = Target::parse("DELETE", "https://a.example.com/").unwrap();
    let grant = HostGrant {
        host: "a.example.com".to_owned(),
        methods: vec!["GET".to_owned()],
        private: false,
        read_only_paths: vec![],
    };
    let secrets = vec![SecretGrant {
        name: "token".to_owned(),
        hosts: vec!["b.example.com".to_owned()],
    }];
    let policy = Policy::read(&Grants {
        hosts: vec![grant],
        secrets,
        ..Grants::default()
    })
    .unwrap();
    assert!(
        policy
            .permit(&target)
            .unwrap_err()
            .0
            .contains("method DELETE is not granted")
    );
    assert!(
        policy
            .permit_secret("token", &target)
            .unwrap_err()
            .0
            .contains("secret `token` is not granted for host")
    );
    assert!(
        policy
            .permit_secret("other", &target)
            .unwrap_err()
            .0
            .contains("secret `other` is not granted;")
    );
}

#[test]
fn a_grant_that_cannot_be_read_is_refused() {
    for host in [
        "",
        "ftp://x",
        "https://x/path",
        "*.*.x",
        "*.10.0.0.1",
        "https://u@x",
        "x?y",
    ] {
        assert!(Pattern::read(host).is_err(), "{host}");
    }
}

#[test]
fn addresses_near_home_are_not_public() {
    let judge = |text: &str| distance(text.parse().unwrap());
    for private in [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "::1",
        "fd00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
    ] {
        assert_eq!(judge(private), Distance::Private, "{private}");
    }
    for never in [
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "fe80::1",
        "::",
        "ff02::1",
        "::ffff:169.254.169.254",
        "2002:a9fe:a9fe::",
    ] {
        assert_eq!(judge(never), Distance::Never, "{never}");
    }
    for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111"] {
        assert_eq!(judge(public), Distance::Public, "{public}");
    }
}

#[test]
fn a_grant_may_be_written_in_short() {
    let written = r#"{"hosts": ["https://a.example", {"host": "b.example", "methods": ["GET"]}], "methods": ["POST"]}"#;
    let policy = Policy::read(&serde_json::from_str(written).unwrap()).unwrap();
    let allows = |method, url| policy.permit(&Target::parse(method, url).unwrap()).is_ok();
    assert!(allows("POST", "https://a.example/") && !allows("GET", "https://a.example/"));
    assert!(allows("GET", "https://b.example/") && !allows("POST", "https://b.example/"));
    assert!(serde_json::from_str::<Grants>(r#"{"hosts": [{"hots": "x"}]}"#).is_err());
}
