//! The power of a disk is cut: an ext4 file system in an image on a loop device is shut down as it is
//! (`FS_IOC_SHUTDOWN`, without a flush of its log), mounted again, and read. What was not fsynced is gone.
//! Needs root. `CHATD_POWER_CUTS=50` cuts more often.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::checker::Crowd;
use crate::support::{Folder, PATIENCE, Server};

const CUTS: usize = 3;
/// `_IOR('X', 125, __u32)` with `EXT4_GOING_FLAGS_NOLOGFLUSH`, as soon as a line comes in.
const CUT: &str = "import fcntl, os, struct, sys
disk = os.open(sys.argv[1], os.O_RDONLY)
print('ready', flush=True)
sys.stdin.readline()
fcntl.ioctl(disk, 0x8004587D, struct.pack('I', 2))";

/// A file system on a device of its own; unmounted when dropped.
pub struct Disk {
    image: PathBuf,
    pub path: PathBuf,
}

/// Runs a program; `false` when it is not there or says no.
fn run(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    let status = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the test chose the name")
}

impl Disk {
    /// `None` where nobody may mount: not root, or no loop device.
    fn ext4(folder: &Folder) -> Option<Disk> {
        let disk = Disk { image: folder.path().join("disk.img"), path: folder.path().join("disk") };
        fs::create_dir(&disk.path).expect("it can be made");
        fs::File::create(&disk.image).and_then(|file| file.set_len(256 << 20)).expect("it can be made");
        (run("mkfs.ext4", &["-q", "-F", text(&disk.image)]) && disk.mount()).then_some(disk)
    }

    /// A file system in memory of this many MiB; `None` where nobody may mount.
    pub fn tmpfs(folder: &Folder, megabytes: usize) -> Option<Disk> {
        let disk = Disk { image: PathBuf::new(), path: folder.path().join("disk") };
        fs::create_dir(&disk.path).expect("it can be made");
        // Without a mode anybody may write there, and root serves in no such directory.
        let size = format!("size={megabytes}m,mode=0700");
        run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", text(&disk.path)]).then_some(disk)
    }

    /// The setting that puts the database here.
    pub fn url(&self) -> String {
        format!("url = \"sqlite://{}/chat.db\"", self.path.display())
    }

    fn mount(&self) -> bool {
        run("mount", &["-o", "loop", text(&self.image), text(&self.path)])
    }

    fn unmount(&self) -> bool {
        run("umount", &[text(&self.path)])
    }

    /// A hand on the switch.
    fn switch(&self) -> Switch {
        let mut python = Command::new("python3");
        python.args(["-c", CUT, text(&self.path)]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = python.spawn().expect("python3 is there");
        let mut ready = String::new();
        let output = child.stdout.take().expect("it is a pipe");
        BufReader::new(output).read_line(&mut ready).expect("it can be read");
        assert_eq!(ready, "ready\n", "the power cannot be cut");
        Switch(child)
    }

    /// Mounts again what the cut left.
    fn restart(&self) {
        let begun = Instant::now();
        while !self.unmount() {
            assert!(begun.elapsed() < PATIENCE, "the disk stays busy");
            thread::sleep(Duration::from_millis(20));
        }
        assert!(self.mount(), "it was mounted before");
    }
}

/// What cuts the power at once: in the time that a program takes to start, a checkpoint can bring what was never synced
/// onto the disk, and a server that loses messages would pass.
struct Switch(Child);

impl Switch {
    fn cut(mut self) {
        let mut input = self.0.stdin.take().expect("it is a pipe");
        input.write_all(b"\n").expect("it is read");
        assert!(self.0.wait().is_ok_and(|status| status.success()), "the power cannot be cut");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l", text(&self.path)]);
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_is_cut() {
    let asked = std::env::var("CHATD_POWER_CUTS").ok().map(|cuts| cuts.parse().expect("a number of cuts"));
    let cuts: usize = asked.unwrap_or(CUTS);
    let folder = Folder::new("");
    let Some(disk) = Disk::ext4(&folder) else {
        println!("SKIPPED: a power cut needs root, mkfs.ext4 and a loop device");
        return;
    };
    let settings = |tail: usize| {
        folder.configure(&format!(
            "[database]\n{}\ntail_messages = {tail}\n[log]\nlevel = \"warn,chatd=info\"",
            disk.url()
        ));
    };
    settings(65_536);
    let crowd = Crowd::new(&folder, 16);
    for cut in 1..=cuts {
        settings([65_536, 40, 400][cut % 3]);
        let mut server = Server::start(&folder);
        let before = crowd.acknowledged();
        let work = crowd.work(server.address, 16, 8);
        let begun = Instant::now();
        while crowd.acknowledged() < before + 300 {
            assert!(begun.elapsed() < PATIENCE, "nothing is acknowledged");
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_millis(fastrand::u64(..300)));
        let switch = disk.switch();
        // An fsync that is under way at the cut may return 0 though its journal was dropped; with real power nobody
        // would hear of it.
        crowd.lights_out(true);
        switch.cut();
        // It stops by itself: after a failed fsync nobody knows what is on the disk.
        assert_eq!(server.wait(), Some(1), "{}", server.log());
        work.stop();
        drop(server);
        crowd.server_was_killed();
        disk.restart();
        crowd.lights_out(false);
        let server = Server::start(&folder);
        let sums = crowd.check(&server);
        println!("{cut} power cuts: {sums}");
        sums.must_hold();
        assert_eq!(server.stop(), Some(0));
        crowd.all_is_settled();
        folder.done(&["db", "verify"], "");
    }
    if asked.is_none() {
        println!("SKIPPED: more than {CUTS} power cuts; CHATD_POWER_CUTS=50 cargo test --release --test it power");
    }
}
