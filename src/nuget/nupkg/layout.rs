//! The fixed records of the zip format (PKWARE APPNOTE 6.3.10, section 4.3), as far as packages need them.

/// Length of a local file header without name and extra field (4.3.7).
pub(in crate::nuget) const LOCAL_BYTES: usize = 30;
/// Length of an entry of the central directory without name, extra field and comment (4.3.12).
pub(super) const CENTRAL_BYTES: usize = 46;
/// Length of the end record without its comment (4.3.16).
pub(super) const END_BYTES: usize = 22;
/// Length of the zip64 end record's locator (4.3.15).
pub(super) const LOCATOR_BYTES: usize = 20;
/// Length of the zip64 end record without its extensible part (4.3.14).
pub(super) const END64_BYTES: usize = 56;

const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";
pub(super) const END: [u8; 4] = *b"PK\x05\x06";
const LOCATOR: [u8; 4] = *b"PK\x06\x07";
const END64: [u8; 4] = *b"PK\x06\x06";
/// What begins a data descriptor (4.3.9.3): optional by the letter, written by everybody.
const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";

/// Extra field that holds what does not fit 32 bits (4.5.3).
const ZIP64_EXTRA: u16 = 1;

/// In a 16-bit field: the zip64 record has the value.
const IN_ZIP64_16: u16 = u16::MAX;
/// In a 32-bit field: the zip64 record or field has the value.
const IN_ZIP64_32: u32 = u32::MAX;

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

fn starts_with(bytes: &[u8], signature: [u8; 4]) -> Option<()> {
    bytes.starts_with(&signature).then_some(())
}

/// How an entry is packed (4.4.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::nuget) enum Method {
    Deflated,
    Other(u16),
    Stored,
}

/// What local header and central directory both say of an entry.
#[derive(Clone, Copy, Debug)]
pub(in crate::nuget) struct Packing {
    flags: u16,
    pub(in crate::nuget) method: Method,
    pub(super) crc: u32,
    /// Length of the packed data, unless an extra field or a descriptor behind the data has it.
    pub(super) packed_bytes: u64,
    /// Length of the data unpacked, likewise.
    pub(super) unpacked_bytes: u64,
}

impl Packing {
    /// The fields from `at`, which stand in the same order in both records.
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let method = match u16_at(bytes, at + 2)? {
            0 => Method::Stored,
            8 => Method::Deflated,
            other => Method::Other(other),
        };
        Some(Self {
            flags: u16_at(bytes, at)?,
            method,
            crc: u32_at(bytes, at + 8)?,
            packed_bytes: u32_at(bytes, at + 12)?.into(),
            unpacked_bytes: u32_at(bytes, at + 16)?.into(),
        })
    }

    /// Where a zip64 field has the length of the packed data: behind that of the unpacked, if it has that.
    fn packed_bytes_at(&self) -> usize {
        if self.unpacked_bytes == u64::from(IN_ZIP64_32) {
            8
        } else {
            0
        }
    }

    /// Whether the content is encrypted (4.4.4, bit 0).
    pub(super) fn is_encrypted(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Whether sizes and checksum stand behind the data (4.4.4, bit 3).
    pub(in crate::nuget) fn has_descriptor(&self) -> bool {
        self.flags & 8 != 0
    }
}

/// A local file header, which stands before an entry's data.
#[derive(Clone, Copy, Debug)]
pub(in crate::nuget) struct Local {
    pub(in crate::nuget) packing: Packing,
    pub(super) name_bytes: u16,
    extra_bytes: u16,
}

impl Local {
    /// The header that `bytes` begin with.
    pub(in crate::nuget) fn read(bytes: &[u8]) -> Option<Self> {
        starts_with(bytes, LOCAL)?;
        Some(Self {
            packing: Packing::read(bytes, 6)?,
            name_bytes: u16_at(bytes, 26)?,
            extra_bytes: u16_at(bytes, 28)?,
        })
    }

    /// The length of the packed data, in the bytes that the header begins, its extra field included.
    pub(in crate::nuget) fn packed_bytes(&self, bytes: &[u8]) -> Option<u64> {
        if self.packing.packed_bytes != u64::from(IN_ZIP64_32) {
            return Some(self.packing.packed_bytes);
        }
        let extra = LOCAL_BYTES + usize::from(self.name_bytes);
        let extra = bytes.get(extra..extra + usize::from(self.extra_bytes))?;
        u64_at(zip64_extra(extra)?, self.packing.packed_bytes_at())
    }

    /// The entry's name, in the bytes that the header begins.
    pub(in crate::nuget) fn name<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.get(LOCAL_BYTES..LOCAL_BYTES + usize::from(self.name_bytes))
    }

    /// How far behind the header's start the data begin.
    pub(in crate::nuget) fn data_offset(&self) -> usize {
        LOCAL_BYTES + usize::from(self.name_bytes) + usize::from(self.extra_bytes)
    }
}

/// The fixed part of an entry of the central directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Central {
    pub(super) packing: Packing,
    pub(super) name_bytes: u16,
    pub(super) extra_bytes: u16,
    pub(super) comment_bytes: u16,
    offset: u32,
}

impl Central {
    pub(super) fn read(bytes: &[u8; CENTRAL_BYTES]) -> Option<Self> {
        starts_with(bytes, CENTRAL)?;
        Some(Self {
            packing: Packing::read(bytes, 8)?,
            name_bytes: u16_at(bytes, 28)?,
            extra_bytes: u16_at(bytes, 30)?,
            comment_bytes: u16_at(bytes, 32)?,
            offset: u32_at(bytes, 42)?,
        })
    }

    /// The entry's packing and the offset of its local header, with what its extra field says of them.
    pub(super) fn resolve(self, extra: &[u8]) -> Option<(Packing, u64)> {
        let (mut packing, mut offset) = (self.packing, u64::from(self.offset));
        let mut at = packing.packed_bytes_at();
        if packing.unpacked_bytes == u64::from(IN_ZIP64_32)
            && let Some(bytes) = zip64_extra(extra).and_then(|field| u64_at(field, 0))
        {
            packing.unpacked_bytes = bytes;
        }
        if packing.packed_bytes == u64::from(IN_ZIP64_32) {
            packing.packed_bytes = u64_at(zip64_extra(extra)?, at)?;
            at += 8;
        }
        if self.offset == IN_ZIP64_32 {
            offset = u64_at(zip64_extra(extra)?, at)?;
        }
        Some((packing, offset))
    }
}

/// The content of the zip64 field among the extra fields (4.5.1).
fn zip64_extra(mut extra: &[u8]) -> Option<&[u8]> {
    loop {
        let (id, length) = (u16_at(extra, 0)?, usize::from(u16_at(extra, 2)?));
        let content = extra.get(4..4 + length)?;
        if id == ZIP64_EXTRA {
            return Some(content);
        }
        extra = extra.get(4 + length..)?;
    }
}

/// Where the central directory stands, by an end record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Extent {
    pub(super) entries: u64,
    pub(super) start: u64,
    pub(super) bytes: u64,
    /// Whether the record says that this file is one of several.
    pub(super) is_part: bool,
}

/// The end record.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) extent: Extent,
    pub(super) comment_bytes: u16,
    /// Whether a value must be looked for in the zip64 end record.
    pub(super) is_zip64: bool,
}

impl End {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        starts_with(bytes, END)?;
        let (disk, first_disk) = (u16_at(bytes, 4)?, u16_at(bytes, 6)?);
        let (entries, here) = (u16_at(bytes, 10)?, u16_at(bytes, 8)?);
        let (size, start) = (u32_at(bytes, 12)?, u32_at(bytes, 16)?);
        Some(Self {
            extent: Extent {
                entries: entries.into(),
                start: start.into(),
                bytes: size.into(),
                is_part: disk != first_disk || entries != here,
            },
            comment_bytes: u16_at(bytes, 20)?,
            is_zip64: entries == IN_ZIP64_16 || size == IN_ZIP64_32 || start == IN_ZIP64_32,
        })
    }
}

/// Where the zip64 end record stands, by its locator.
pub(super) fn read_locator(bytes: &[u8]) -> Option<u64> {
    starts_with(bytes, LOCATOR)?;
    u64_at(bytes, 8)
}

/// The extent by the zip64 end record.
pub(super) fn read_end64(bytes: &[u8]) -> Option<Extent> {
    starts_with(bytes, END64)?;
    let (here, entries) = (u64_at(bytes, 24)?, u64_at(bytes, 32)?);
    Some(Extent {
        entries,
        start: u64_at(bytes, 48)?,
        bytes: u64_at(bytes, 40)?,
        is_part: u32_at(bytes, 16)? != u32_at(bytes, 20)? || here != entries,
    })
}

/// The length of data of unknown size that `bytes` begin with: a descriptor follows it that says exactly that.
pub(in crate::nuget) fn length_by_descriptor(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find_iter(bytes, &DESCRIPTOR).find(|&at| {
        let length = u64::try_from(at).ok();
        let (short, long) = (u32_at(bytes, at + 8).map(u64::from), u64_at(bytes, at + 8));
        length.is_some() && (short == length || long == length)
    })
}

/// The first local header in `bytes`: behind an entry's data, where a descriptor of one of several lengths may stand.
pub(in crate::nuget) fn find_local(bytes: &[u8]) -> Option<usize> {
    /// The longest descriptor: signature, checksum, two sizes of 8 bytes.
    const MAX_DESCRIPTOR_BYTES: usize = 24;
    let reach = bytes.len().min(MAX_DESCRIPTOR_BYTES + LOCAL.len());
    memchr::memmem::find(bytes.get(..reach)?, &LOCAL)
}
