use std::path::PathBuf;

use super::*;

const DIRECTORY: &str = "https://acme.example.org/directory";

fn settings(hosts: &[&str], directory: &str) -> AcmeSettings {
    AcmeSettings {
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        contact: Vec::new(),
        directory: directory.to_owned(),
        ca: None,
        state: PathBuf::new(),
    }
}

/// A certificate for these names, as it is stored.
fn issued(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("one can be made");
    format!("{}\n{}\n{}", issued_by(DIRECTORY), made.cert.pem(), made.signing_key.serialize_pem())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o777
}

#[tokio::test]
async fn what_is_stored_is_found_again_and_is_shut_to_others() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let path = folder.path().join("deep/acme");
    let state = Arc::new(StateDirectory::open(&path).expect("it can be made"));
    assert_eq!(mode(&path), 0o700);
    assert!(state.certificate().is_ok_and(|stored| stored.is_none()));
    let key = state.clone().account_key().await.expect("it is made");
    let again = Arc::new(StateDirectory::open(&path).expect("it is there")).account_key().await;
    assert_eq!(again.expect("it is there").secret_pkcs8_der(), key.secret_pkcs8_der());

    // What a crash left behind stands in nobody's way.
    fs::write(path.join(UNFINISHED), "half").expect("it is ours");
    state.clone().store_certificate(issued(&["a.example.org", "b.example.org"])).await.expect("there is room");
    assert!(!path.join(UNFINISHED).exists());
    assert_eq!((mode(&path.join(ACCOUNT)), mode(&path.join(CERTIFICATE))), (0o600, 0o600));
    let stored = state.certificate().expect("it is whole").expect("it is there");
    for (hosts, directory, is_for) in [
        (&["a.example.org"][..], DIRECTORY, true),
        (&["a.example.org", "b.example.org"], DIRECTORY, true),
        (&["a.example.org", "c.example.org"], DIRECTORY, false),
        (&["a.example.org"], "https://other.example.org/directory", false),
    ] {
        assert_eq!(stored.is_for(&settings(hosts, directory)), is_for, "{hosts:?} {directory}");
    }
}

#[test]
fn a_certificate_that_is_damaged_is_said_to_be() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let state = StateDirectory::open(folder.path()).expect("it is ours");
    let good = issued(&["a.example.org"]);
    let other = issued(&["a.example.org"]);
    let (certificate, _) = good.split_once("-----BEGIN PRIVATE KEY-----").expect("it has a key");
    let (_, key) = other.split_once("-----BEGIN PRIVATE KEY-----").expect("it has a key");
    let of_two = format!("{certificate}-----BEGIN PRIVATE KEY-----{key}");
    for bad in ["", certificate, &of_two, &good[..good.len() / 2]] {
        fs::write(folder.path().join(CERTIFICATE), bad).expect("it is ours");
        let why = state.certificate().expect_err("it is damaged").to_string();
        assert!(why.starts_with("acme.state: ") && why.contains(CERTIFICATE), "{why}");
    }
}

#[test]
fn a_directory_that_others_can_read_is_shut() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let path = folder.path().join("acme");
    fs::create_dir(&path).expect("it is free");
    fs::write(path.join(ACCOUNT), "").expect("it is ours");
    for (path, mode) in [(path.clone(), 0o755), (path.join(ACCOUNT), 0o640)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    }
    let open = StateDirectory::look(&path).expect("it is ours").expect("it is there");
    assert_eq!(open, [(path.clone(), 0o755), (path.join(ACCOUNT), 0o640)]);
    StateDirectory::open(&path).expect("it is mended");
    assert_eq!((mode(&path), mode(&path.join(ACCOUNT))), (0o700, 0o600));
    assert_eq!(StateDirectory::look(&path), Ok(Some(Vec::new())));
}

#[test]
fn what_is_no_directory_is_refused() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let path = folder.path().join("acme");
    assert_eq!(StateDirectory::look(&path), Ok(None));
    fs::write(&path, "").expect("it is free");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
    let why = StateDirectory::open(&path).expect_err("it is a file").to_string();
    assert!(why.starts_with("acme.state: "), "{why}");
}
