//! Services from outside: a runtime, real ports, and clients that speak HTTP by hand, well and badly.

#[path = "services/bench.rs"]
mod bench;

use std::io::Write as _;
use std::time::{Duration, Instant};

use bench::{Bench, Served, service};
use nesos_artifacts::services;
use nesos_types::limits::Limits;
use nesos_types::resources::Resources;
use nesos_types::service::{HealthCheck, Probe, Service};
use nesos_types::task::{TaskInfo, TaskReason, TaskState};

const MIB: u64 = 1 << 20;

/// Long enough for anything that is to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn faults(bench: &Bench, change: impl FnOnce(&mut TaskInfo)) -> Served {
    bench.serve(services::FAULTS, change)
}

fn serving(task: &mut TaskInfo) -> &mut Service {
    task.service.as_mut().expect("a service")
}

#[test]
fn a_service_answers_each_request_in_a_fresh_instance() {
    let bench = Bench::new();
    let hello = bench.serve(services::HELLO_HTTP, |_| {});
    let answer = hello.get("/");
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "Hello, world!\n")
    );
    let faults = faults(&bench, |_| {});
    for _ in 0..3 {
        assert_eq!(faults.get("/").body, "1");
    }
}

#[test]
fn an_instance_answers_as_many_requests_as_it_may() {
    let bench = Bench::new();
    let served = faults(&bench, |task| {
        serving(task).requests_per_instance = 3;
        serving(task).concurrency = 1;
    });
    let answers: Vec<_> = (0..7).map(|_| served.get("/").body).collect();
    assert_eq!(answers, ["1", "2", "3", "1", "2", "3", "1"]);
    // One that traps is not used again.
    assert_eq!(served.get("/trap").status, 500);
    assert_eq!(served.get("/").body, "1");
}

#[test]
fn a_connection_is_kept_alive_for_many_requests() {
    let bench = Bench::new();
    let hello = bench.serve(services::HELLO_HTTP, |_| {});
    let mut client = hello.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
    }
    assert!(hello.end().usage.cpu_ns > 0);
}

#[test]
fn http_2_is_spoken_to_who_begins_with_it() {
    let bench = Bench::new();
    let hello = bench.serve(services::HELLO_HTTP, |_| {});
    let status = bench.get_by_http2(hello.port, "/");
    assert_eq!(status, 200);
}

#[test]
fn a_trap_ends_its_request_with_500_and_a_backtrace_in_the_log() {
    let bench = Bench::new();
    let served = faults(&bench, |_| {});
    let answer = served.get("/trap");
    assert_eq!(answer.status, 500);
    assert!(!answer.body.contains("unreachable"), "{}", answer.body);
    served.wait_for_log("GET /trap: ");
    assert!(served.log().contains("faults"), "{}", served.log());
    assert_eq!(served.get("/").status, 200);
}

#[test]
fn a_guest_that_does_not_answer_or_exits_has_failed() {
    let bench = Bench::new();
    let served = faults(&bench, |_| {});
    assert_eq!(served.get("/silent").status, 500);
    served.wait_for_log("it returned without an answer");
    assert_eq!(served.get("/exit").status, 500);
    served.wait_for_log("exited with code");
    assert_eq!(served.get("/").status, 200);
}

#[test]
fn a_loop_is_ended_by_the_limit_of_cpu_time() {
    let bench = Bench::new();
    let served = faults(&bench, |task| {
        serving(task).request_cpu = Some(Duration::from_millis(100));
    });
    assert_eq!(served.get("/loop").status, 504);
    served.wait_for_log("its CPU time is used up");
    assert_eq!(served.get("/").status, 200);
    // Who waits uses none.
    assert_eq!(served.get("/sleep").status, 200);
}

#[test]
fn a_loop_is_ended_by_the_limit_of_time() {
    let bench = Bench::new();
    let served = faults(&bench, |task| {
        serving(task).request_timeout = Some(Duration::from_millis(300));
    });
    let began = Instant::now();
    assert_eq!(served.get("/loop").status, 504);
    assert!(began.elapsed() < PATIENCE);
    served.wait_for_log("its time has passed");
    // The instance is gone, or this would go on to be used.
    let used = served.sandbox.usage().cpu_ns;
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(served.sandbox.usage().cpu_ns, used);
    assert_eq!(served.get("/").status, 200);
}

#[test]
fn a_memory_bomb_ends_its_request_and_all_of_it_is_given_back() {
    let bench = Bench::new();
    let served = faults(&bench, |task| {
        serving(task).instance_mem_bytes = Some(16 * MIB);
    });
    for _ in 0..4 {
        assert_eq!(served.get("/memory").status, 500);
    }
    served.wait_for_log("refused by its limit of 16 MiB");
    assert_eq!(served.get("/").status, 200);
    assert!(served.end().usage.peak_memory_bytes <= 64 * MIB);
}

#[test]
fn all_instances_together_have_the_tasks_memory() {
    let bench = Bench::new();
    // Room for two instances at a time, of which each needs between one and two MiB.
    let served = faults(&bench, |task| {
        task.resources = Resources::new(1000, 4 * MIB);
    });
    let clients: Vec<_> = (0..6).map(|_| served.start("/sleep")).collect();
    for client in clients {
        assert_eq!(client.join().expect("answered").status, 200);
    }
    assert!(served.end().usage.peak_memory_bytes <= 4 * MIB);
}

#[test]
fn no_more_are_answered_at_a_time_than_allowed_and_the_rest_waits() {
    let bench = Bench::new();
    let served = faults(&bench, |task| serving(task).concurrency = 2);
    let began = Instant::now();
    let clients: Vec<_> = (0..6).map(|_| served.start("/sleep")).collect();
    for client in clients {
        assert_eq!(client.join().expect("answered").status, 200);
    }
    assert!(began.elapsed() >= Duration::from_millis(1500));
}

#[test]
fn who_comes_when_enough_wait_is_told_to_come_again() {
    let bench = Bench::new();
    let served = faults(&bench, |task| {
        serving(task).concurrency = 1;
        serving(task).request_timeout = Some(Duration::from_secs(3));
    });
    let clients: Vec<_> = (0..80).map(|_| served.start("/loop")).collect();
    let answers = clients.into_iter().map(|it| it.join().expect("answered"));
    let refused: Vec<_> = answers.filter(|answer| answer.status == 503).collect();
    assert!(refused.len() >= 80 - 65, "{}", refused.len());
    assert!(
        refused[0].head.contains("retry-after: 1"),
        "{}",
        refused[0].head
    );
    assert_eq!(served.get("/").status, 200);
}

#[test]
fn the_instances_of_a_service_share_one_bucket() {
    let bench = Bench::new();
    let served = faults(&bench, |task| {
        task.resources = Resources::new(250, 64 * MIB);
        serving(task).request_timeout = Some(Duration::from_secs(2));
    });
    let before = served.sandbox.usage().cpu_ns;
    let began = Instant::now();
    let clients: Vec<_> = (0..8).map(|_| served.start("/loop")).collect();
    for client in clients {
        assert_eq!(client.join().expect("answered").status, 504);
    }
    let used = Duration::from_nanos(served.sandbox.usage().cpu_ns - before);
    let share = used.as_secs_f64() / began.elapsed().as_secs_f64();
    assert!(share < 0.32, "{share}");
    assert!(share > 0.10, "{share}");
}

#[test]
fn fuel_and_output_of_all_instances_are_added_up() {
    let bench = Bench::new();
    let served = faults(&bench, |task| {
        task.limits.fuel = Some(40_000_000);
    });
    for _ in 0..3 {
        assert_eq!(served.get("/print").status, 200);
    }
    // What an instance has written is shown when it ends, a moment after its answer.
    let (printed, began) = (3 * "printed\n".len() as u64, Instant::now());
    while served.sandbox.usage().output_bytes < printed {
        assert!(began.elapsed() < PATIENCE, "{:?}", served.sandbox.usage());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(served.sandbox.usage().output_bytes, printed);
    served.start("/loop");
    let exit = served.exit();
    assert_eq!(
        (exit.state, exit.reason),
        (TaskState::Failed, TaskReason::FuelExhausted)
    );
    // What a quantum of each thread may run over.
    assert!(
        (40_000_000..2_000_000_000).contains(&exit.usage.fuel),
        "{}",
        exit.usage.fuel
    );
}

#[test]
fn an_answer_without_end_keeps_pace_with_its_client_and_ends_by_its_time() {
    let bench = Bench::new();
    let served = faults(&bench, |task| {
        serving(task).request_timeout = Some(Duration::from_secs(1));
    });
    // A client that reads nothing: the guest waits, and does not work.
    let idle = served.send("GET /endless HTTP/1.1\r\nhost: x\r\n\r\n");
    std::thread::sleep(Duration::from_millis(500));
    let used = served.sandbox.usage().cpu_ns;
    assert!(used < 400_000_000, "{used}");
    drop(idle);
    // One that reads all: it breaks off.
    let body = served.get("/endless");
    assert_eq!(body.status, 200);
    assert!(!body.is_whole, "the answer has no end");
    assert!(body.body.len() > 100_000);
    assert_eq!(served.get("/").status, 200);
}

#[test]
fn half_an_answer_is_not_taken_for_a_whole_one() {
    let bench = Bench::new();
    let served = faults(&bench, |_| {});
    let answer = served.get("/half");
    // It may break off before its head has left.
    assert!(matches!(answer.status, 0 | 200), "{}", answer.status);
    assert!(!answer.is_whole, "{}", answer.body);
    served.wait_for_log("GET /half: ");
}

#[test]
fn a_request_is_streamed_in_and_bounded() {
    let bench = Bench::new();
    let served = faults(&bench, |task| {
        serving(task).request_timeout = Some(Duration::from_secs(2));
    });
    let body = "x".repeat(3 << 20);
    let request = format!(
        "POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(served.send(&request).answer().body, body.len().to_string());
    let huge = "POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 70000000\r\n\r\n";
    assert_eq!(served.send(huge).answer().status, 413);
    // A body that never comes to its end.
    let stuck = "POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nxyz";
    assert_eq!(served.send(stuck).answer().status, 504);
    assert_eq!(served.get("/").status, 200);
}

#[test]
fn a_client_that_is_slow_with_its_headers_is_left() {
    let bench = Bench::new();
    let served = faults(&bench, |_| {});
    let mut slow = served.send("GET / HTTP/1.1\r\nhost: x\r\n");
    let began = Instant::now();
    assert!(slow.is_closed_within(Duration::from_secs(15)));
    assert!(began.elapsed() > Duration::from_secs(5));
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let bench = Bench::new();
    let served = faults(&bench, |_| {});
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: +3\r\n\r\nabc",
        "POST /length HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : x\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        assert_eq!(served.send(request).answer().status, 400, "{request}");
    }
    let long = format!(
        "GET / HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n",
        "x".repeat(40 << 10)
    );
    assert_eq!(served.send(&long).answer().status, 431);
}

#[test]
fn a_client_that_goes_away_takes_its_instance_along() {
    let bench = Bench::new();
    let served = faults(&bench, |task| serving(task).request_timeout = None);
    drop(served.send("GET /loop HTTP/1.1\r\nhost: x\r\n\r\n"));
    let began = Instant::now();
    loop {
        let before = served.sandbox.usage().cpu_ns;
        std::thread::sleep(Duration::from_millis(200));
        if before > 0 && served.sandbox.usage().cpu_ns == before {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "the loop goes on");
    }
}

#[test]
fn nothing_goes_out() {
    let bench = Bench::new();
    let served = faults(&bench, |_| {});
    let answer = served.get("/fetch");
    assert!(answer.body.contains("Denied"), "{}", answer.body);
}

#[test]
fn a_kill_lets_requests_under_way_end_and_takes_no_more() {
    let bench = Bench::new();
    let served = faults(&bench, |_| {});
    let under_way = served.start("/sleep");
    std::thread::sleep(Duration::from_millis(150));
    served.kill(PATIENCE);
    std::thread::sleep(Duration::from_millis(50));
    assert!(served.refuses(), "nothing is accepted any more");
    assert_eq!(under_way.join().expect("answered").status, 200);
    let exit = served.exit();
    assert_eq!(
        (exit.state, exit.reason),
        (TaskState::Killed, TaskReason::KillRequested)
    );
}

#[test]
fn a_kill_drops_what_has_not_ended_within_the_grace() {
    let bench = Bench::new();
    let served = faults(&bench, |_| {});
    let under_way = served.start("/loop");
    std::thread::sleep(Duration::from_millis(100));
    let began = Instant::now();
    served.kill(Duration::from_millis(300));
    assert_eq!(served.exit().state, TaskState::Killed);
    assert!(began.elapsed() >= Duration::from_millis(250));
    assert!(began.elapsed() < PATIENCE);
    // With an answer or without: the connection is closed.
    drop(under_way.join());
}

#[test]
fn an_idle_service_is_killed_at_once() {
    let bench = Bench::new();
    let served = faults(&bench, |_| {});
    let _idle = served.connect();
    let began = Instant::now();
    served.kill(Duration::from_secs(60));
    assert_eq!(served.exit().state, TaskState::Killed);
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn the_time_limit_of_the_task_ends_the_service() {
    let bench = Bench::new();
    let served = faults(&bench, |task| {
        task.limits.timeout = Some(Duration::from_millis(200));
    });
    assert_eq!(served.exit().reason, TaskReason::TimeLimit);
}

#[test]
fn a_port_that_is_taken_drops_the_task() {
    let bench = Bench::new();
    let first = faults(&bench, |_| {});
    let exit = bench.exit(services::FAULTS, |task| {
        task.service = Some(Box::new(service(first.port)))
    });
    assert_eq!(
        (exit.state, exit.reason),
        (TaskState::Dropped, TaskReason::LaunchFailed)
    );
    assert!(
        exit.message.contains(&format!("port {}", first.port)),
        "{}",
        exit.message
    );
    assert!(exit.message.contains("taken"), "{}", exit.message);
}

#[test]
fn a_service_and_its_task_must_say_the_same() {
    let bench = Bench::new();
    let exit = bench.exit(services::HELLO_HTTP, |task| task.service = None);
    assert_eq!(
        (exit.state, exit.reason),
        (TaskState::Error, TaskReason::TaskInvalid)
    );
    assert!(exit.message.contains("`service`"), "{}", exit.message);
    let exit = bench.exit(nesos_artifacts::wasip2::HELLO, |_| {});
    assert_eq!(
        (exit.state, exit.reason),
        (TaskState::Error, TaskReason::TaskInvalid)
    );
    assert!(
        exit.message.contains("incoming-handler"),
        "{}",
        exit.message
    );
    let exit = bench.exit(services::HELLO_HTTP, |task| {
        task.health = Some(Box::new(HealthCheck::by(Probe::Call)));
    });
    assert_eq!(exit.reason, TaskReason::TaskInvalid);
    assert!(
        exit.message.contains("nesos:guest/health"),
        "{}",
        exit.message
    );
    let exit = bench.exit(services::HELLO_HTTP, |task| {
        serving(task).instance_mem_bytes = Some(1000);
    });
    assert_eq!(
        (exit.state, exit.reason),
        (TaskState::Error, TaskReason::MemoryLimit)
    );
}

#[test]
fn a_guest_is_asked_for_its_health() {
    let bench = Bench::new();
    let served = bench.serve(services::AILING, |task| {
        task.health = Some(Box::new(HealthCheck::by(Probe::Call)));
        task.limits = Limits::default();
    });
    assert_eq!(bench.healthy(&served), Ok(()));
    assert_eq!(served.get("/sick").status, 503);
    let said = bench.healthy(&served).expect_err("sick");
    assert_eq!(said, "it was asked to be sick");
    assert_eq!(served.get("/well").status, 200);
    assert_eq!(bench.healthy(&served), Ok(()));
    let faults = faults(&bench, |_| {});
    assert!(bench.healthy(&faults).is_err());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let bench = Bench::new();
    let served = faults(&bench, |task| {
        serving(task).requests_per_instance = 10;
        serving(task).concurrency = 1;
    });
    let one = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut client = served.connect();
    client
        .stream
        .write_all(one.repeat(3).as_bytes())
        .expect("sent");
    let answers: Vec<_> = (0..3).map(|_| client.read_one().body).collect();
    assert_eq!(answers, ["1", "2", "3"]);
}
