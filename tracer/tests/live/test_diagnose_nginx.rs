//! A real nginx that does not keep connections alive is found to close first; as advised, it is not.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    clock,
    skip::{Noise, turn},
    spawn,
    test_diagnose::{TEST, diagnosed, finding, findings, ip},
    workload::Lane,
};

/// Requests: at least 5 a second are 5 TIME_WAITs a second, however slow the machine is.
const REQUESTS: usize = 200;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: nginx\r\n\r\n";

/// One that runs until it is dropped.
struct Nginx {
    master: Child,
    to: SocketAddr,
    _directory: TempDir,
}

impl Nginx {
    fn with(setting: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let lane = Lane {
            test: TEST,
            space: 0,
        };
        let to = SocketAddr::new(ip(TEST), lane.port(0));
        let place = directory.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {place}/{kind};\n"))
            .concat();
        let configuration = format!(
            "daemon off; user root; worker_processes 1; pid {place}/pid; error_log {place}/error;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; {temporary} {setting}\n\
             server {{ listen {to}; location / {{ return 200 'yes'; }} }} }}\n"
        );
        let path = directory.path().join("nginx.conf");
        fs::write(&path, configuration).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&path).arg("-p").arg(directory.path());
        let master = spawn::spawn(command.stdin(Stdio::null())).unwrap();
        clock::until(Duration::from_secs(30), || TcpStream::connect(to).ok())
            .expect("nginx does not listen");
        Self {
            master,
            to,
            _directory: directory,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM: the master ends its worker, too.
        let pid = rustix::process::Pid::from_child(&self.master);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.master.wait().unwrap();
    }
}

/// Reads one whole answer.
fn answer(client: &mut TcpStream) {
    client.write_all(REQUEST).unwrap();
    let mut told = Vec::new();
    while !told.ends_with(b"yes") {
        let mut some = [0; 512];
        let read = client.read(&mut some).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&told));
        told.extend_from_slice(&some[..read]);
    }
}

#[test]
fn nginx_without_keep_alive() {
    let name = "nginx_without_keep_alive";
    let Some(_turn) = turn(name, Noise::Little) else {
        return;
    };
    if Command::new("nginx").arg("-v").output().is_err() {
        eprintln!("skipped: {name}: nginx is not installed");
        return;
    }
    let said = diagnosed(&[], || {
        let nginx = Nginx::with("keepalive_timeout 0;");
        for _ in 0..REQUESTS {
            let mut client = TcpStream::connect(nginx.to).unwrap();
            answer(&mut client);
            // nginx closes first.
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            spawn::close(client);
        }
        nginx
    });
    let found = finding(&said, "who_should_keep_alive");
    let evidence = &found["evidence"];
    assert_eq!(evidence["serves"], true, "{found:#}");
    assert_eq!(evidence["closed_first_local"], REQUESTS, "{found:#}");
    let advice = found["advice"][0].as_str().unwrap();
    assert!(advice.contains("keepalive_timeout 75s;"), "{advice}");

    let said = diagnosed(&[], || {
        let nginx = Nginx::with("keepalive_timeout 75s; keepalive_requests 1000;");
        let mut client = TcpStream::connect(nginx.to).unwrap();
        for _ in 0..REQUESTS {
            answer(&mut client);
        }
        spawn::close(client);
        nginx
    });
    assert!(
        findings(&said, "who_should_keep_alive").is_empty(),
        "{said:#}"
    );
}
