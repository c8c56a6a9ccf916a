//! The hosts that can be asked for what another one has lost, as the bulk connections of the product reach them.

use std::path::PathBuf;

use consensus::rt::bulk::{BulkError, FilePart};
use log_format::disk::MemoryDisk;
use log_format::ids::{ChapterNumber, HostId};
use palisade::chapters::fetch::{Donor, file_part};
use palisade::runtime::chapters::repair::Donors;

/// Bytes that are given at once: more than most files of a run have, fewer than some.
const AT_ONCE: usize = 8 << 10;

/// A host that runs, and its disk.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) host: HostId,
    pub(crate) disk: MemoryDisk,
    pub(crate) data: PathBuf,
}

/// All others that run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Others(pub(crate) Vec<Running>);

impl Donors for Others {
    fn each(&mut self) -> Box<dyn Iterator<Item = Box<dyn Donor>> + '_> {
        Box::new(self.0.iter().map(|running| Box::new(running.clone()) as Box<dyn Donor>))
    }
}

impl Donor for Running {
    fn file(&mut self, chapter: ChapterNumber, name: &str, offset: u64) -> Result<FilePart, BulkError> {
        let Self { host, disk, data } = self;
        let refused = |reason| BulkError::Refused { host: *host, reason };
        file_part((&*disk, data.as_path()), (chapter, name), offset, AT_ONCE).map_err(refused)
    }
}
