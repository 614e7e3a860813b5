//! The images that power cuts may leave, made while walking a recording once.
//!
//! Invariant: an image has everything that was durable at its point. Of the rest it has what a
//! page cache can have written back by then: for each sector either what was durable or one of
//! the later values, never a value that never was.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, Node, NodeId, apply_whole, put};
use crate::record::{Entry, Recorded};
use crate::rng::Rng;

/// What a disk writes as a whole, in bytes: the smallest sector in use. Aligned to the file.
pub const SECTOR_BYTES: u64 = 512;

/// A directory as a power cut may have left it.
#[derive(Debug, Clone)]
pub struct Image {
    /// How many entries had happened.
    pub point: usize,
    /// The marks among them.
    pub marks: BTreeSet<u64>,
    /// Where the cut was and what it took, for the message of a failing test.
    pub description: String,
    /// Writes and truncations of its files that were not synced, and did not arrive.
    pub lost: usize,
    /// Writes of which a part arrived.
    pub torn: usize,
    files: BTreeMap<PathBuf, Arc<Vec<u8>>>,
}

impl Image {
    /// The files, by their path from the directory.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.files
            .iter()
            .map(|(path, bytes)| (path.as_path(), bytes.as_slice()))
    }

    /// Writes the files below `dir`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// When something is in `dir` already, as the shared memory of another image would spoil
    /// this one, or a file cannot be written.
    pub fn write_to(&self, dir: impl AsRef<Path>) -> io::Result<()> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir)?;
        if fs::read_dir(dir)?.next().is_some() {
            let text = format!("{} is not empty", dir.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        for (path, bytes) in &self.files {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().expect("below dir"))?;
            fs::write(path, bytes.as_slice())?;
        }
        Ok(())
    }
}

/// How an image takes from what was not durable.
#[derive(Debug, Clone, Copy)]
enum Draw {
    Nothing,
    Everything,
    Prefix,
    Subset,
    /// A prefix, and of the write behind it some sectors.
    TornPrefix,
    /// Any, and of one write some sectors.
    TornSubset,
}

impl Draw {
    fn of(nth: usize, rng: &mut Rng) -> Draw {
        const DRAWN: [Draw; 6] = [
            Draw::Prefix,
            Draw::Subset,
            Draw::TornPrefix,
            Draw::TornSubset,
            Draw::Nothing,
            Draw::Everything,
        ];
        match nth {
            0 => Draw::Nothing,
            1 => Draw::Everything,
            _ => DRAWN[rng.below(DRAWN.len())],
        }
    }
}

/// How much of a pending write or truncation reached the disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kept {
    Lost,
    Whole,
    /// By sector of the write, the first may be a part of one.
    Sectors(Vec<bool>),
}

/// One choice for everything that is not durable.
#[derive(Hash, Default)]
struct Choice {
    /// How many of the changes of a name happened; names without any are left out.
    names: BTreeMap<PathBuf, usize>,
    /// By index in the log; what is lost is left out.
    kept: BTreeMap<usize, Kept>,
}

/// Makes images one after the other. See [`Recorded::images`].
pub struct Images<'a> {
    entries: &'a [Entry],
    seed: u64,
    per_point: usize,
    disk: Disk,
    marks: BTreeSet<u64>,
    point: usize,
    /// How many images of this point were tried.
    tried: usize,
    /// Choices since the durable state or the marks last changed.
    seen: HashSet<u64>,
    /// So many of a thousand images are made.
    per_mille: usize,
    /// Images of earlier points are not made.
    from: usize,
}

impl<'a> Images<'a> {
    pub(crate) fn new(recorded: &'a Recorded, seed: u64, per_point: usize) -> Images<'a> {
        Images {
            entries: &recorded.entries,
            seed,
            per_point,
            disk: Disk::new(recorded),
            marks: BTreeSet::new(),
            point: 0,
            tried: 0,
            seen: HashSet::new(),
            per_mille: 1000,
            from: 0,
        }
    }

    /// Makes only so many of a thousand images, drawn by the seed: making one copies its files,
    /// which is most of the work where they are large.
    pub fn sampled(mut self, per_mille: usize) -> Self {
        self.per_mille = per_mille;
        self
    }

    /// Makes images of this point and of later ones only.
    pub fn behind(mut self, point: usize) -> Self {
        self.from = point;
        self
    }

    /// Whether the choice that was just made becomes an image.
    fn is_drawn(&self) -> bool {
        let number = |n: usize| u64::try_from(n).expect("64 bits");
        let place = [!self.seed, number(self.point), number(self.tried)];
        Rng::new(&place).below(1000) < self.per_mille
    }

    /// Goes on to the next point; false at the end.
    fn step(&mut self) -> bool {
        let Some(entry) = self.entries.get(self.point) else {
            return false;
        };
        self.disk.apply(self.entries, self.point);
        if let Entry::Mark(n) = entry {
            self.marks.insert(*n);
        }
        match entry {
            Entry::Write { .. } | Entry::Truncate { .. } | Entry::Open { .. } => {}
            _ => self.seen.clear(),
        }
        self.point += 1;
        self.tried = 0;
        true
    }

    fn choose(&mut self) -> Choice {
        let number = |n: usize| u64::try_from(n).expect("64 bits");
        let mut rng = Rng::new(&[self.seed, number(self.point), number(self.tried)]);
        let mut choice = Choice::default();
        for (name, changes) in &self.disk.changes {
            let happened = match Draw::of(self.tried, &mut rng) {
                Draw::Nothing => 0,
                Draw::Everything => changes.len(),
                _ => rng.below(changes.len() + 1),
            };
            if happened > 0 {
                choice.names.insert(name.clone(), happened);
            }
        }
        for node in &self.disk.nodes {
            let draw = Draw::of(self.tried, &mut rng);
            let kept = draw_kept(draw, &node.pending, self.entries, &mut rng);
            let pairs = node.pending.iter().copied().zip(kept);
            choice.kept.extend(pairs.filter(|(_, k)| *k != Kept::Lost));
        }
        choice
    }

    fn image(&self, choice: &Choice) -> Image {
        let mut names = self.disk.durable.clone();
        for (name, happened) in &choice.names {
            match self.disk.changes[name][happened - 1] {
                Some(node) => names.insert(name.clone(), node),
                None => names.remove(name),
            };
        }
        let files = names
            .iter()
            .map(|(name, node)| (name.clone(), self.content(*node, choice)));
        let pending = || names.values().flat_map(|n| &self.disk.nodes[*n].pending);
        let is_torn = |i: &&usize| matches!(choice.kept.get(i), Some(Kept::Sectors(_)));
        let is_lost = |i: &&usize| !choice.kept.contains_key(i);
        Image {
            point: self.point,
            marks: self.marks.clone(),
            description: self.describe(&names, choice),
            lost: pending().filter(is_lost).count(),
            torn: pending().filter(is_torn).count(),
            files: files.collect(),
        }
    }

    fn content(&self, node: NodeId, choice: &Choice) -> Arc<Vec<u8>> {
        let node = &self.disk.nodes[node];
        let mut content = Arc::clone(&node.content);
        for index in &node.pending {
            let entry = &self.entries[*index];
            match (choice.kept.get(index), entry) {
                (None | Some(Kept::Lost), _) => {}
                (Some(Kept::Whole), _) => apply_whole(Arc::make_mut(&mut content), entry),
                (Some(Kept::Sectors(kept)), Entry::Write { offset, bytes, .. }) => {
                    let content = Arc::make_mut(&mut content);
                    for (range, _) in sectors(*offset, bytes.len())
                        .zip(kept)
                        .filter(|(_, kept)| **kept)
                    {
                        let at = offset + u64::try_from(range.start).expect("64 bits");
                        put(content, at, &bytes[range]);
                    }
                }
                (Some(Kept::Sectors(_)), _) => unreachable!("only writes are torn"),
            }
        }
        content
    }

    fn describe(&self, names: &BTreeMap<PathBuf, NodeId>, choice: &Choice) -> String {
        let mut text = match self.point.checked_sub(1) {
            Some(last) => format!("point {}, after `{}`", self.point, self.entries[last]),
            None => "point 0".to_owned(),
        };
        for (name, changes) in &self.disk.changes {
            let happened = choice.names.get(name).copied().unwrap_or(0);
            let name = name.display();
            text += &format!("; {name}: {happened} of {} name changes", changes.len());
        }
        for (name, node) in names {
            let Node { pending, .. } = &self.disk.nodes[*node];
            if pending.is_empty() {
                continue;
            }
            let kept: Vec<&Kept> = pending.iter().flat_map(|i| choice.kept.get(i)).collect();
            let torn = kept.iter().filter(|k| matches!(k, Kept::Sectors(_)));
            text += &format!(
                "; {}: {} of {} unsynced kept, {} of them torn",
                name.display(),
                kept.len(),
                pending.len(),
                torn.count()
            );
        }
        text
    }
}

impl Iterator for Images<'_> {
    type Item = Image;

    fn next(&mut self) -> Option<Image> {
        loop {
            while self.tried < self.per_point {
                let choice = self.choose();
                self.tried += 1;
                let mut hasher = DefaultHasher::new();
                choice.hash(&mut hasher);
                if self.point >= self.from && self.seen.insert(hasher.finish()) && self.is_drawn() {
                    return Some(self.image(&choice));
                }
            }
            if !self.step() {
                return None;
            }
        }
    }
}

fn draw_kept(draw: Draw, pending: &[usize], entries: &[Entry], rng: &mut Rng) -> Vec<Kept> {
    let whole = |is_kept: bool| if is_kept { Kept::Whole } else { Kept::Lost };
    let all = pending.len();
    match draw {
        Draw::Nothing => vec![Kept::Lost; all],
        Draw::Everything => vec![Kept::Whole; all],
        Draw::Prefix => {
            let len = rng.below(all + 1);
            (0..all).map(|i| whole(i < len)).collect()
        }
        Draw::Subset => pending.iter().map(|_| whole(rng.coin())).collect(),
        Draw::TornPrefix | Draw::TornSubset => {
            let count = |i: usize| match &entries[pending[i]] {
                Entry::Write { offset, bytes, .. } => sectors(*offset, bytes.len()).count(),
                _ => 0,
            };
            let can_tear: Vec<usize> = (0..all).filter(|i| count(*i) > 1).collect();
            if can_tear.is_empty() {
                return draw_kept(Draw::Subset, pending, entries, rng);
            }
            let torn = can_tear[rng.below(can_tear.len())];
            let mut kept: Vec<Kept> = match draw {
                Draw::TornPrefix => (0..all).map(|i| whole(i < torn)).collect(),
                _ => pending.iter().map(|_| whole(rng.coin())).collect(),
            };
            kept[torn] = Kept::Sectors(tear(count(torn), rng));
            kept
        }
    }
}

/// Some sectors, not all and not none: the first ones, the last ones, or any. `count` is over 1.
fn tear(count: usize, rng: &mut Rng) -> Vec<bool> {
    let at = 1 + rng.below(count - 1);
    match rng.below(3) {
        0 => (0..count).map(|i| i < at).collect(),
        1 => (0..count).map(|i| i >= at).collect(),
        _ => {
            let mut kept: Vec<bool> = (0..count).map(|_| rng.coin()).collect();
            kept[at] = !kept[at - 1];
            kept
        }
    }
}

/// The parts of a write that lie in one sector each, as ranges of its bytes.
fn sectors(offset: u64, len: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let into_sector = usize::try_from(offset % SECTOR_BYTES).expect("small");
    let sector = usize::try_from(SECTOR_BYTES).expect("small");
    let first = sector - into_sector;
    let mut start = 0;
    std::iter::from_fn(move || {
        if start >= len {
            return None;
        }
        let size = if start == 0 { first } else { sector };
        let end = len.min(start + size);
        let range = start..end;
        start = end;
        Some(range)
    })
}

#[cfg(test)]
mod tests;
