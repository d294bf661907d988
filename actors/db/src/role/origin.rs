//! Where a replica comes from.

use bytes::{BufMut, Bytes};

use crate::consensus::ReplicaId;
use crate::encoding::{DecodeError, Reader, put_bytes};

const VERSION: u8 = 1;
const FOUNDERS_MAX: usize = 64;

/// Which replica this is, and with whom its shard was founded. Written once, when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Which replica.
    pub replica: ReplicaId,
    /// The nodes that it was to found its shard with, in order of names; none for one that joined.
    pub founders: Vec<String>,
}

impl Origin {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        out.put_u64_le(self.replica);
        out.put_u32_le(u32::try_from(self.founders.len()).expect("founders are few"));
        self.founders.iter().for_each(|founder| put_bytes(&mut out, founder.as_bytes()));
        out.into()
    }

    pub(super) fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        match from.u8()? {
            VERSION => {}
            number => {
                return Err(DecodeError::Unknown { what: "format", number: number.into() });
            }
        }
        let replica = from.u64()?;
        let count = from.count("founders", FOUNDERS_MAX)?;
        let founders = (0..count).map(|_| from.text()).collect::<Result<_, _>>()?;
        from.end()?;
        Ok(Self { replica, founders })
    }
}
