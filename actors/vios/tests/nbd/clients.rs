//! Our server and the clients that others wrote.

use std::fs;
use std::sync::Arc;

use vioduct_vios::file;
use vioduct_vios::nbd::server::Config;

use crate::served::Served;
use crate::tool;

/// Debian's own: the libnbd module is no other's.
const PYTHON: &str = "/usr/bin/python3";
const CONFORMANCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nbd/conformance.py");

#[tokio::test]
async fn every_conformance_check_passes() {
    let served = Served::file();
    tool::run(PYTHON, &["-c", "import nbd"]).await;
    let said = tool::run(PYTHON, &[CONFORMANCE, &served.uri()]).await;
    assert!(said.ends_with("33 passed, 0 failed, 0 skipped\n"), "{said}");
}

#[tokio::test]
async fn every_conformance_check_passes_on_a_disk_that_another_server_holds() {
    let far = Served::file();
    let near = Served::disk(Arc::new(far.connect().await), Config::default());
    let said = tool::run(PYTHON, &[CONFORMANCE, &near.uri()]).await;
    assert!(said.ends_with("33 passed, 0 failed, 0 skipped\n"), "{said}");
}

#[tokio::test]
async fn qemu_io_reads_back_what_it_wrote() {
    let served = Served::file();
    let commands = "write -P 7 512 64k; read -P 7 512 64k; write -f -P 8 1M 4k; flush; \
                    read -P 8 1M 4k; write -z -u 1M 1M; read -P 0 1M 1M; discard 0 1M";
    let mut args = vec!["-f".to_owned(), "raw".to_owned()];
    args.extend(commands.split("; ").flat_map(|command| ["-c".to_owned(), command.to_owned()]));
    args.push(served.uri());
    let said = tool::run("qemu-io", &args).await;
    assert!(!said.contains("failed"), "{said}");
    served.stop().await;
}

/// A file with data and holes that is an image of the served disk's size.
fn image(served: &Served) -> String {
    let path = served.path("source.img");
    let file = fs::File::create(&path).unwrap();
    file.set_len(crate::served::SIZE).unwrap();
    for (mebibyte, byte) in [(0, 1), (3, 2), (100, 3), (127, 4)] {
        let data = vec![byte; 1 << 20];
        std::os::unix::fs::FileExt::write_all_at(&file, &data, mebibyte << 20).unwrap();
    }
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn qemu_img_copies_a_disk_in_and_out() {
    let served = Served::file();
    let (source, uri) = (image(&served), served.uri());
    let convert = ["convert", "-n", "-f", "raw", "-O", "raw"];
    tool::run("qemu-img", &[&convert[..], &[&source, &uri]].concat()).await;
    let out = served.path("out.img").to_str().unwrap().to_owned();
    tool::run("qemu-img", &["convert", "-f", "raw", "-O", "raw", &uri, &out]).await;
    assert!(fs::read(&source).unwrap() == fs::read(&out).unwrap());
    tool::run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &source, &uri]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nbdcopy_copies_a_disk_in_and_out_over_several_connections() {
    let served = Served::file();
    let (source, uri) = (image(&served), served.uri());
    tool::run("nbdcopy", &["--flush", "--connections=4", &source, &uri]).await;
    let out = served.path("out.img").to_str().unwrap().to_owned();
    tool::run("nbdcopy", &["--connections=4", &uri, &out]).await;
    assert!(fs::read(&source).unwrap() == fs::read(&out).unwrap());
    let said = tool::run("nbdinfo", &["--map", &uri]).await;
    assert!(said.contains("data") && said.contains("hole,zero"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fio_verifies_what_it_wrote() {
    for is_direct in [false, true] {
        let served = Served::file_with(file::Config { is_direct, ..file::Config::default() });
        let args = [
            "--name=verify",
            "--ioengine=nbd",
            &format!("--uri={}", served.uri()),
            "--rw=randwrite",
            "--bsrange=4k-256k",
            "--size=64m",
            "--iodepth=32",
            "--fsync=64",
            "--verify=crc32c",
            "--verify_state_save=0",
            "--verify_fatal=1",
            "--do_verify=1",
        ];
        let said = tool::run("fio", &args).await;
        assert!(said.contains("err= 0"), "{said}");
        served.stop().await;
    }
}
