//! From BER to DER, as far as signatures need it: some signing tools write lengths that end with a mark, and octet strings in
//! pieces (X.690 sections 8.1.3.6, 8.7.3), where the reader of CMS takes neither.
//!
//! It refuses tags of several bytes, which no signature has, and to order sets.

/// Deepest nesting: real signatures have some twenty levels, with the time stamp's own in them.
const MAX_DEPTH: u8 = 48;
const CONSTRUCTED: u8 = 0x20;
const OCTET_STRING: u8 = 4;
/// What ends a value of a length that was not told.
const END: [u8; 2] = [0, 0];

/// One value.
struct Value<'b> {
    tag: u8,
    content: Vec<u8>,
    /// What follows it.
    rest: &'b [u8],
}

/// One value and nothing behind it, in DER; `None` if it is none.
pub(super) fn to_der(bytes: &[u8]) -> Option<Vec<u8>> {
    let value = read(bytes, MAX_DEPTH)?;
    if !value.rest.is_empty() {
        return None;
    }
    let mut der = Vec::with_capacity(bytes.len());
    write(value.tag, &value.content, &mut der);
    Some(der)
}

fn read(bytes: &[u8], depth: u8) -> Option<Value<'_>> {
    let (&tag, rest) = bytes.split_first()?;
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (length, rest) = length(rest)?;
    if tag & CONSTRUCTED == 0 {
        let (content, rest) = rest.split_at_checked(length?)?;
        let content = content.to_vec();
        return Some(Value { tag, content, rest });
    }
    let depth = depth.checked_sub(1)?;
    let (mut inside, after) = match length {
        Some(length) => rest.split_at_checked(length)?,
        None => (rest, &[][..]),
    };
    let is_string = tag == OCTET_STRING | CONSTRUCTED;
    let mut content = Vec::new();
    let rest = loop {
        match (length, inside.strip_prefix(&END)) {
            (None, Some(rest)) => break rest,
            (Some(_), _) if inside.is_empty() => break after,
            _ => {}
        }
        let part = read(inside, depth)?;
        inside = part.rest;
        if !is_string {
            write(part.tag, &part.content, &mut content);
        } else if part.tag == OCTET_STRING {
            content.extend(part.content);
        } else {
            return None;
        }
    };
    let tag = if is_string { OCTET_STRING } else { tag };
    Some(Value { tag, content, rest })
}

/// A length, `None` if an end mark tells it, and what follows.
fn length(bytes: &[u8]) -> Option<(Option<usize>, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    match first {
        0..=0x7f => Some((Some(first.into()), rest)),
        0x80 => Some((None, rest)),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let number = digits
                .iter()
                .fold(0_u32, |number, digit| number << 8 | u32::from(*digit));
            Some((Some(usize::try_from(number).ok()?), rest))
        }
        _ => None,
    }
}

fn write(tag: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    match u8::try_from(content.len()) {
        Ok(length @ 0..=0x7f) => out.push(length),
        _ => {
            let digits = content.len().to_be_bytes();
            let zeros = digits.iter().take_while(|digit| **digit == 0).count();
            let digits = digits.get(zeros..).unwrap_or_default();
            // A length in memory has eight digits at most.
            out.push(0x80 | u8::try_from(digits.len()).unwrap_or(8));
            out.extend_from_slice(digits);
        }
    }
    out.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    //! X.690 sections 8.1.3, 8.7 and 10.1, 10.2.

    use super::*;

    #[track_caller]
    fn check(ber: &[u8], expected: Option<&[u8]>) {
        assert_eq!(to_der(ber).as_deref(), expected, "{ber:02x?}");
    }

    #[test]
    fn told_lengths_and_strings_in_one_piece() {
        check(&[4, 2, 97, 98], Some(&[4, 2, 97, 98]));
        let pieces = [0x30, 0x80, 0x24, 0x80, 4, 1, 97, 4, 1, 98, 0, 0, 0, 0];
        check(&pieces, Some(&[0x30, 4, 4, 2, 97, 98]));
        check(&[0x24, 4, 0x24, 2, 4, 0], Some(&[4, 0]));
        check(&[4, 0x82, 0, 1, 97], Some(&[4, 1, 97]));
        let mut long = vec![4, 0x81, 200];
        long.extend([7; 200]);
        check(&long, Some(&long));
    }

    #[test]
    fn refuses_what_is_no_value() {
        for bytes in [
            &[][..],
            &[4],
            &[4, 1],
            &[4, 0, 0],
            &[4, 0x80, 0, 0],
            &[0x1f, 1, 0],
            &[0x30, 0x80, 4, 0],
            &[0x24, 2, 5, 0],
            &[4, 0x85, 0, 0, 0, 0, 0],
            &[0x30, 1, 4],
        ] {
            check(bytes, None);
        }
        let deep: Vec<u8> = [0x30, 0x80].repeat(1000);
        check(&deep, None);
    }
}
