//! Operations a second of the master's registry, in a file and in an etcd.

use anyhow::Result;
use nesos_master::{MasterConfig, bench};
use nesos_tests::etcd::Etcd;

use crate::Options;
use crate::figure::{Bound, Report};

const RECORDS: u32 = 100_000;
const RECORDS_IF_QUICK: u32 = 10_000;

pub(crate) fn run(options: Options, report: &mut Report) -> Result<()> {
    let records = if options.quick {
        RECORDS_IF_QUICK
    } else {
        RECORDS
    };
    report.method(&format!(
        "{records} records, each of an event of its own, are committed in groups as large as the driver's batches \
         grow under load (256), one group after the other, each durable before the next. The file is on the disk of \
         the directory for temporary files, and so is the directory of the etcd, which has one member."
    ));
    let runtime = tokio::runtime::Runtime::new()?;
    let directory = tempfile::tempdir()?;
    let config = MasterConfig::new(directory.path());
    let rate = |config| -> Result<f64> {
        let took = runtime.block_on(bench::write(config, records))?;
        Ok(f64::from(records) / took.as_secs_f64())
    };
    let in_file = rate(config.clone())?;
    report.promise("in a file", in_file, "/s", Bound::AtLeast(20_000.0));
    let Some(etcd) = Etcd::start() else {
        report.method("NOT CHECKED: the etcd, which is not installed.");
        return Ok(());
    };
    let mut config = config;
    config.store = format!("etcd://{}", etcd.member()).parse()?;
    let in_etcd = rate(config)?;
    report.promise("in an etcd", in_etcd, "/s", Bound::AtLeast(2_000.0));
    Ok(())
}
