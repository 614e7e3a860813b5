//! What a disk has for certain, and what the kernel still holds, at one point of a recording.
//!
//! Invariant: every entry is applied once, in order; `content` of a node is what its last sync
//! made durable. Names and contents are separate, as on a disk: a deleted file whose directory
//! was not synced may come back, with what was durable in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::record::{Entry, Recorded};
use crate::watch::Role;

/// A file without its name, as an index into `Disk::nodes`.
pub(crate) type NodeId = usize;

/// A file without its name.
#[derive(Default)]
pub(crate) struct Node {
    /// Durable.
    pub(crate) content: Arc<Vec<u8>>,
    /// Entries (writes and truncations) since the last sync, as indices into the log.
    pub(crate) pending: Vec<usize>,
}

/// What happened to a name since its directory was last synced: a file, or none.
pub(crate) type NameChange = Option<NodeId>;

#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) nodes: Vec<Node>,
    /// Names that the disk has for certain.
    pub(crate) durable: BTreeMap<PathBuf, NodeId>,
    /// Names whose latest changes may be lost, the latest last.
    pub(crate) changes: BTreeMap<PathBuf, Vec<NameChange>>,
    /// Names as the running process sees them.
    live: BTreeMap<PathBuf, NodeId>,
}

impl Disk {
    pub(crate) fn new(recorded: &Recorded) -> Disk {
        let mut disk = Disk::default();
        for (path, content) in &recorded.base {
            disk.add_durable(path, Arc::clone(content));
        }
        disk
    }

    fn add_durable(&mut self, path: &Path, content: Arc<Vec<u8>>) {
        let node = self.add(content);
        self.changes.remove(path);
        self.durable.insert(path.to_owned(), node);
        self.live.insert(path.to_owned(), node);
    }

    fn add(&mut self, content: Arc<Vec<u8>>) -> NodeId {
        let pending = Vec::new();
        self.nodes.push(Node { content, pending });
        self.nodes.len() - 1
    }

    /// Applies the entry at `index` of the log.
    pub(crate) fn apply(&mut self, entries: &[Entry], index: usize) {
        match &entries[index] {
            Entry::Open { .. } | Entry::Mark(_) => {}
            Entry::Create { path, role } => match role {
                Role::Database => self.add_durable(path, Arc::default()),
                Role::Journal | Role::Wal => {
                    let node = self.add(Arc::default());
                    self.live.insert(path.clone(), node);
                    self.change(path, Some(node));
                }
            },
            Entry::Found { path, bytes } => self.add_durable(path, Arc::new(bytes.to_vec())),
            Entry::Write { path, .. } | Entry::Truncate { path, .. } => {
                self.node(path).pending.push(index);
            }
            Entry::Sync { path, sync_dir } => {
                let node = self.node(path);
                let pending = std::mem::take(&mut node.pending);
                let content = Arc::make_mut(&mut node.content);
                for index in pending {
                    apply_whole(content, &entries[index]);
                }
                if *sync_dir {
                    self.settle(path);
                }
            }
            Entry::Lost { path } => self.node(path).pending.clear(),
            Entry::Delete { path, sync_dir } => {
                self.live.remove(path);
                self.change(path, None);
                if *sync_dir {
                    self.settle(path);
                }
            }
        }
    }

    fn node(&mut self, path: &Path) -> &mut Node {
        let id = self.live.get(path);
        let id = *id.unwrap_or_else(|| panic!("{} was not opened", path.display()));
        &mut self.nodes[id]
    }

    fn change(&mut self, path: &Path, to: NameChange) {
        self.changes.entry(path.to_owned()).or_default().push(to);
    }

    /// The directory of `path` was synced: its names are as the process sees them.
    fn settle(&mut self, path: &Path) {
        let dir = path.parent();
        let durable = &mut self.durable;
        self.changes.retain(|name, changes| {
            if name.parent() != dir {
                return true;
            }
            match changes.last().copied().flatten() {
                Some(node) => durable.insert(name.clone(), node),
                None => durable.remove(name),
            };
            false
        });
    }
}

/// A write or a truncation that arrived as a whole.
pub(crate) fn apply_whole(content: &mut Vec<u8>, entry: &Entry) {
    match entry {
        Entry::Write { offset, bytes, .. } => put(content, *offset, bytes),
        Entry::Truncate { len, .. } => {
            content.resize(usize::try_from(*len).expect("64 bits"), 0);
        }
        _ => unreachable!("only writes and truncations wait for a sync"),
    }
}

/// What lies between the old end and the write is zero.
pub(crate) fn put(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = usize::try_from(offset).expect("64 bits");
    let end = start + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}
