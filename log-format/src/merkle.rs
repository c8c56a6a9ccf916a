//! Merkle trees of the shape of RFC 6962, built leaf by leaf in memory that grows with the logarithm of their number.

use sha2::{Digest, Sha256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// Stands before a leaf's bytes, so that no leaf can pass for a node.
const LEAF: u8 = 0x00;
/// Stands before a node's two hashes.
const NODE: u8 = 0x01;

/// The hash of a leaf: its bytes may come in pieces.
pub fn leaf<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Hash {
    let mut hash = Sha256::new_with_prefix([LEAF]);
    pieces.into_iter().for_each(|piece| hash.update(piece));
    hash.finalize().into()
}

fn node(left: Hash, right: Hash) -> Hash {
    Sha256::new_with_prefix([NODE]).chain_update(left).chain_update(right).finalize().into()
}

/// A tree that grows.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// Roots of whole subtrees with their heights, the highest first, as the bits of the number of leaves say.
    whole: Vec<(u32, Hash)>,
    leaves: u64,
}

impl Tree {
    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        self.leaves += 1;
        let (mut height, mut hash) = (0, leaf);
        while let Some((_, left)) = self.whole.pop_if(|(top, _)| *top == height) {
            hash = node(left, hash);
            height += 1;
        }
        self.whole.push((height, hash));
    }

    /// How many leaves it has.
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The root of the leaves so far; that of no leaves is the hash of nothing.
    pub fn root(&self) -> Hash {
        let hashes = self.whole.iter().rev().map(|(_, hash)| *hash);
        hashes.reduce(|right, left| node(left, right)).unwrap_or_else(|| Sha256::digest([]).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of RFC 6962, section 2.1, word for word.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [only] => *only,
            more => {
                let split = more.len().next_power_of_two() / 2;
                node(by_definition(&more[..split]), by_definition(&more[split..]))
            }
        }
    }

    #[test]
    fn every_number_of_leaves_gives_the_root_of_the_definition() {
        let mut tree = Tree::default();
        let mut leaves = Vec::new();
        for number in 0..70_u8 {
            assert_eq!(tree.root(), by_definition(&leaves), "{number} leaves");
            let hash = leaf([[number].as_slice()]);
            tree.push(hash);
            leaves.push(hash);
        }
        assert_eq!(tree.leaves(), 70);
    }

    #[test]
    fn a_known_tree_has_its_known_root() {
        // The first leaves of the test vectors of RFC 6962's reference implementation.
        let vectors: [&[u8]; 3] = [b"", b"\x00", b"\x10"];
        let mut tree = Tree::default();
        vectors.iter().for_each(|bytes| tree.push(leaf([*bytes])));
        let hex: String = tree.root().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77");
    }
}
