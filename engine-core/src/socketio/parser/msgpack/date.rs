//! Timestamps, as the text that JavaScript writes for a date.

use alloc::format;
use alloc::string::String;

/// The type of the extension that holds a timestamp.
const TIMESTAMP: i8 = -1;

/// The number of days before and after 1970 that JavaScript's dates reach.
const MAX_DAYS: u64 = 100_000_000;

/// Returns whether an extension is a timestamp.
pub(crate) fn is_timestamp(kind: i8, data: &[u8]) -> bool {
    kind == TIMESTAMP && seconds(data).is_some()
}

/// Returns the seconds since 1970 and the nanoseconds of a timestamp.
fn seconds(data: &[u8]) -> Option<(i64, u32)> {
    match data.len() {
        4 => Some((u32::from_be_bytes(*data.first_chunk()?).into(), 0)),
        8 => {
            let both = u64::from_be_bytes(*data.first_chunk()?);
            Some(((both & 0x3_FFFF_FFFF) as i64, (both >> 34) as u32))
        }
        12 => {
            let (nanos, rest) = data.split_first_chunk()?;
            Some((i64::from_be_bytes(*rest.first_chunk()?), u32::from_be_bytes(*nanos)))
        }
        _ => None,
    }
}

/// Returns an extension as `JSON.stringify` writes it: the text of a date, or `None` for `null`.
pub(crate) fn date(kind: i8, data: &[u8]) -> Option<String> {
    let (seconds, nanos) = seconds(data).filter(|_| kind == TIMESTAMP)?;
    text(seconds, nanos / 1_000_000)
}

/// Returns the text of a date that notepack.io, before its version 3, has written: milliseconds since 1970.
pub(super) fn notepack_date(millis: [u8; 8]) -> Option<String> {
    let millis = i64::from_be_bytes(millis);
    text(millis.div_euclid(1000), millis.rem_euclid(1000) as u32)
}

/// Returns the text of a time since 1970, or `None` if no date of JavaScript can be it.
fn text(seconds: i64, millis: u32) -> Option<String> {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    if days.unsigned_abs() > MAX_DAYS || millis >= 1000 {
        return None;
    }
    let (year, month, day) = civil(days);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        // With its sign, in 7 characters.
        _ => format!("{year:+07}"),
    };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"))
}

/// Returns the year, the month and the day of a number of days since 1970, in the Gregorian calendar. Counts in eras of
/// 400 years that begin in March, so that a leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_as_javascript_writes_a_date() {
        let ms = |ms: i64| {
            let mut data = u32::try_from(ms.rem_euclid(1000) * 1_000_000).unwrap().to_be_bytes().to_vec();
            data.extend(ms.div_euclid(1000).to_be_bytes());
            date(TIMESTAMP, &data)
        };
        for (at, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
            (253_402_300_800_000, "+010000-01-01T00:00:00.000Z"),
            (-62_167_219_200_001, "-000001-12-31T23:59:59.999Z"),
            (8_640_000_000_000_000, "+275760-09-13T00:00:00.000Z"),
            (-8_640_000_000_000_000, "-271821-04-20T00:00:00.000Z"),
        ] {
            assert_eq!(ms(at).as_deref(), Some(expected));
            assert_eq!(notepack_date(at.to_be_bytes()).as_deref(), Some(expected));
        }
        for none in [8_640_086_400_000_000, i64::MIN, i64::MAX] {
            assert_eq!((ms(none), notepack_date(none.to_be_bytes())), (None, None));
        }
        assert_eq!(date(TIMESTAMP, &[0, 0, 0, 1]).as_deref(), Some("1970-01-01T00:00:01.000Z"));
        let both = (500_000_000_u64 << 34 | 2).to_be_bytes();
        assert_eq!(date(TIMESTAMP, &both).as_deref(), Some("1970-01-01T00:00:02.500Z"));
    }
}
