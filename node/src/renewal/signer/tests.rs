use vioduct_certs::rotation::RetryBounds;

use super::*;

/// Longest that a command may run, but for one that is to be killed.
const RUNS: Duration = Duration::from_secs(10);

fn shell(script: &str, timeout: Duration) -> RenewalConfig {
    let retry = RetryBounds { min: timeout, max: timeout };
    let args = ["-c", script].map(str::to_owned).to_vec();
    RenewalConfig { program: "sh".to_owned(), args, timeout, retry }
}

async fn ask(script: &str) -> Result<Vec<u8>, SignError> {
    let config = shell(script, RUNS);
    run(&config, &"n1".parse().unwrap(), b"request\n").await
}

async fn refused(script: &str) -> String {
    ask(script).await.unwrap_err().to_string()
}

#[tokio::test]
async fn the_request_comes_in_and_the_answer_goes_out() {
    let answer = ask("echo \"for $VIODUCT_NODE\"; cat; echo chatter >&2").await.unwrap();
    assert_eq!(answer, b"for n1\nrequest\n");
    assert_eq!(ask("echo deaf").await.unwrap(), b"deaf\n", "its input may be left unread");
}

#[tokio::test]
async fn a_failure_is_told_with_the_last_words_only() {
    let message = refused("echo no certificate; printf 'not\\033 today\\n' >&2; exit 3").await;
    assert_eq!(message, "the renewal command failed, exit status: 3: not  today");
    let message = refused("head -c 100000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 1").await;
    assert!(message.len() < SAID_MAX + 100, "{} bytes", message.len());
    assert!(message.ends_with("xend"), "{message}");
    let config = RenewalConfig { program: "no-such-program".to_owned(), ..shell("", RUNS) };
    let error = run(&config, &"n1".parse().unwrap(), b"").await.unwrap_err();
    assert_eq!(error.to_string(), "can't run the renewal command \"no-such-program\"");
}

/// Ends a process that a command left behind and printed the number of.
async fn end(process: &[u8]) {
    let process = std::str::from_utf8(process).unwrap().trim();
    let status = Command::new("kill").arg(process).status().await.unwrap();
    assert!(status.success(), "it lived: the outputs were open all the time");
}

#[tokio::test]
async fn a_process_that_holds_an_output_after_the_end_of_the_command_does_not_hold_up_the_answer() {
    let left = ask("sleep 60 >&2 & echo $!").await.unwrap();
    end(&left).await;
    let left = ask("sleep 60 & echo $!").await.unwrap();
    end(&left).await;
}

#[tokio::test]
async fn a_command_that_fails_and_leaves_a_process_behind_is_told_with_its_words() {
    let error = ask("sleep 60 >&2 & echo $! >&2; exit 4").await.unwrap_err();
    let SignError::Failed { status, said } = &error else { panic!("{error}") };
    assert_eq!(status.code(), Some(4));
    end(said.as_bytes()).await;
}

#[tokio::test]
async fn an_answer_that_goes_on_after_its_sender_closed_an_output_is_waited_for() {
    let answer = ask("exec 2>&-; cat; echo more").await.unwrap();
    assert_eq!(answer, b"request\nmore\n");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let message = refused("exec cat /dev/zero").await;
    assert_eq!(message, "the renewal command printed more than 12582912 bytes");
}

#[tokio::test]
async fn a_command_that_hangs_is_killed() {
    // Prints its process id, then lives for longer than the test looks at it.
    let config = shell("echo $$ >&2; exec sleep 60", Duration::from_millis(300));
    let error = run(&config, &"n1".parse().unwrap(), b"").await.unwrap_err();
    let SignError::Late { said, .. } = &error else { panic!("{error}") };
    let process = std::path::Path::new("/proc").join(said);
    let gone = async {
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        while process.join("exe").read_link().is_ok() {
            looks.tick().await;
        }
    };
    timeout(RUNS, gone).await.expect("it is gone");
}
