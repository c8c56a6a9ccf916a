//! Another host that has chapters, at the other end of the bulk connection.

use consensus::rt::bulk::{BulkClient, BulkError, FilePart};
use log_format::ids::ChapterNumber;
use tokio::runtime::Handle;

pub(in crate::runtime) use crate::chapters::fetch::{Donor, part, seal};

/// A connection to another host.
pub(in crate::runtime) struct Connected {
    pub(in crate::runtime) client: BulkClient,
    pub(in crate::runtime) tokio: Handle,
}

impl Donor for Connected {
    fn file(&mut self, chapter: ChapterNumber, name: &str, offset: u64) -> Result<FilePart, BulkError> {
        self.tokio.block_on(self.client.chapter_file(chapter.get(), name, offset))
    }
}
