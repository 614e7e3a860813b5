use super::*;

fn caller(name: &str, role: Role) -> Caller {
    Caller {
        tenant: Tenant::new("acme").expect("tenant"),
        name: name.into(),
        role,
    }
}

fn write(path: &Path, file: &KeyFile) {
    std::fs::write(path, serde_json::to_vec(file).expect("json")).expect("written");
}

#[test]
fn a_key_is_its_owner_until_it_is_revoked() {
    let dir = std::env::temp_dir().join(format!("stoplog-keys-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    let path = dir.join("keys.json");
    let _ = std::fs::remove_file(&path);
    let ring = KeyRing::new(path.clone());
    assert_eq!(ring.caller("slk_00_11"), None, "there is no file");

    let mut file = KeyFile::default();
    let agent = file.add(([1; 6], [2; 32]), caller("bot", Role::Agent), 5);
    let meera = file.add(([3; 6], [4; 32]), caller("Meera", Role::Approver), 6);
    write(&path, &file);
    assert_eq!(ring.caller(&agent), Some(caller("bot", Role::Agent)));
    assert_eq!(ring.caller(&meera), Some(caller("Meera", Role::Approver)));
    let stored = std::fs::read_to_string(&path).expect("the file");
    let secret = agent.rsplit('_').next().expect("a secret");
    assert!(!stored.contains(secret), "the file has the secret");

    for wrong in [
        agent.replace("0202", "0203"),
        agent.replace(&"02".repeat(32), &"04".repeat(32)),
        agent[..agent.len() - 1].to_owned(),
        format!("{agent}0"),
        agent.to_uppercase(),
        String::new(),
    ] {
        assert_eq!(ring.caller(&wrong), None, "{wrong}");
    }

    assert!(file.revoke("010101010101") && !file.revoke("010101010101"));
    write(&path, &file);
    assert_eq!(ring.caller(&agent), None, "it is revoked");
    assert!(ring.caller(&meera).is_some(), "the other one is not");

    std::fs::write(&path, "{\"version\": 1, \"keys\": [").expect("written");
    assert_eq!(ring.caller(&meera), None, "half a file is no keys");
    std::fs::remove_dir_all(&dir).expect("removed");
}
