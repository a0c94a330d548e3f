//! The other commands, and what every command does with a command line that is wrong.

use std::process::Command;

use serde_json::Value;
use vestibule_tests::e2e::child::ChildProcess;
use vestibule_tests::e2e::program::{command, run};
use vestibule_tests::e2e::{eventually, vestibule};

#[tokio::test]
async fn the_demo_signs_in_once_and_ends() {
    let demo = vestibule(["demo", "--once"]).await;
    assert_eq!(demo.code, 0, "{}", demo.stderr);
    assert!(demo.stdout.contains("verified against"), "{}", demo.stdout);
    assert!(
        !demo.stdout.contains('\u{1b}'),
        "no colour where there is no terminal"
    );
}

#[tokio::test]
async fn the_last_line_of_the_demo_signs_in_as_it_stands() {
    let mut demo = ChildProcess::start(command().arg("demo"));
    let line = eventually("the demo prints its curl command", || {
        let text = demo.stdout.text();
        async move {
            let last = text.lines().last().map(str::to_owned);
            last.filter(|last| last.starts_with("curl ")).ok_or(text)
        }
    })
    .await;
    for _ in 0..2 {
        let answer = run(Command::new("sh").args(["-c", &line]), "").await;
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        let answer: Value = serde_json::from_str(&answer.stdout).expect("it is JSON");
        assert!(answer["access_token"].is_string(), "{answer}");
        assert_eq!(answer["user"]["username"], "alice");
    }
    demo.signal("INT");
    assert_eq!(demo.ended().await.code(), Some(0));
}

#[tokio::test]
async fn there_are_completions_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = vestibule(["completions", shell]).await;
        assert_eq!(script.code, 0, "{}", script.stderr);
        for word in ["serve", "explain", "max-connections"] {
            assert!(script.stdout.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(vestibule(["completions", "tcsh"]).await.code, 2);
}

#[tokio::test]
async fn bash_reads_its_completions_without_a_complaint() {
    let script = vestibule(["completions", "bash"]).await;
    let read = run(Command::new("bash").arg("-n"), &script.stdout).await;
    assert_eq!((read.code, read.stderr.as_str()), (0, ""));
}

#[tokio::test]
async fn the_openapi_document_is_printed() {
    let printed = vestibule(["openapi"]).await;
    let document: Value = serde_json::from_str(&printed.stdout).expect("it is JSON");
    assert_eq!(
        document["openapi"].as_str().map(|version| &version[..3]),
        Some("3.1")
    );
    assert!(document["paths"]["/auth/id-token/signin"]["post"].is_object());
}

#[tokio::test]
async fn a_wrong_command_line_exits_with_2_and_says_where_to_read_on() {
    let wrong: [&[&str]; 7] = [
        &["frobnicate"],
        &["check"],
        &["serve", "--frobnicate"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--max-connections", "-1"],
        &["serve", "--tls-cert", "cert.pem"],
        &["explain", "token"],
    ];
    for arguments in wrong {
        let finished = vestibule(arguments).await;
        assert_eq!(finished.code, 2, "{arguments:?}: {}", finished.stderr);
        assert!(
            finished.stderr.contains("--help"),
            "{arguments:?}: {}",
            finished.stderr
        );
        assert_eq!(finished.stdout, "", "{arguments:?}");
    }
    let nothing = vestibule([""; 0]).await;
    assert_eq!(nothing.code, 2);
    assert!(
        nothing.stderr.contains("Usage: vestibule"),
        "{}",
        nothing.stderr
    );
    let both = ["serve", "--plain-http", "--tls-cert", "c", "--tls-key", "k"];
    assert_eq!(vestibule(both).await.code, 2);
}

#[tokio::test]
async fn help_and_version_are_printed_and_exit_with_0() {
    let help = vestibule(["--help"]).await;
    assert_eq!(help.code, 0);
    assert!(help.stdout.contains("Exit codes:"), "{}", help.stdout);
    let version = vestibule(["--version"]).await;
    assert_eq!(
        (version.code, version.stdout.as_str()),
        (0, "vestibule 0.1.0\n")
    );
}
