//! AMF0, the value format of RTMP commands and FLV script data (AMF 0 specification, section 2).
//!
//! Decoding is lenient where senders are known to be careless (array counts, a missing end marker
//! at the end of the message, text that is not UTF-8) and bounded everywhere: by depth, by the
//! number of values and by the bytes of their text, references expanded.

use bytes::BufMut;

use crate::bytes::{Reader, Short};

/// One AMF0 value, on its own: references are already replaced by what they refer to.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// Text, short or long form.
    String(String),
    /// An anonymous object: fields in their order. Names may repeat; the first one counts.
    Object(Vec<(String, Value)>),
    /// Null.
    Null,
    /// Undefined.
    Undefined,
    /// An associative array: like an object, with a count nobody can rely on.
    EcmaArray(Vec<(String, Value)>),
    /// An array counted from zero.
    StrictArray(Vec<Value>),
    /// A point in time.
    Date {
        /// Milliseconds since 1970-01-01 UTC.
        millis: f64,
        /// Minutes from UTC; the specification asks for 0.
        zone: i16,
    },
    /// The text of an XML document.
    Xml(String),
    /// An object of a registered class.
    Typed {
        /// The class.
        class: String,
        /// Its fields in their order.
        fields: Vec<(String, Value)>,
    },
    /// A value its sender could not write.
    Unsupported,
}

impl Value {
    /// The first field called `name` of an object, typed object or associative array.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let (Self::Object(fields) | Self::EcmaArray(fields) | Self::Typed { fields, .. }) = self
        else {
            return None;
        };
        fields.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The value of a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

/// What one decoding may cost. Beyond any of these it is an error.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Objects and arrays inside each other. 16 by default.
    pub depth: usize,
    /// Values in all, nested ones and expanded references counted. 4096 by default.
    pub values: usize,
    /// Bytes of text in all: strings, field names, class names, each time a reference repeats
    /// them. 1 MiB by default.
    pub text_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 16, values: 4096, text_bytes: 1 << 20 }
    }
}

/// Why bytes are not AMF0, or more of it than allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The message ends inside a value.
    #[error("amf0/{0}")]
    Short(#[from] Short),
    /// The switch to AMF3 (marker 0x11), which no RTMP sender of media needs.
    #[error("amf0/marker at byte {at}: expected an AMF0 value, found the switch to AMF3 (0x11)")]
    Amf3 {
        /// Offset of the marker.
        at: usize,
    },
    /// A marker that starts no value: reserved, unknown, or an object end out of place.
    #[error("amf0/marker at byte {at}: expected 0x00 to 0x10, found {found:#04x}")]
    Marker {
        /// Offset of the marker.
        at: usize,
        /// The marker.
        found: u8,
    },
    /// A reference to an object that has not appeared.
    #[error("amf0/reference at byte {at}: expected one of {known} objects, found number {index}")]
    Reference {
        /// Offset of the marker.
        at: usize,
        /// Objects seen so far.
        known: usize,
        /// The number asked for, from zero.
        index: u16,
    },
    /// More nesting than [`Limits::depth`]; a reference that contains itself ends here too.
    #[error("amf0/object: expected at most {max} levels, found more")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// More values than [`Limits::values`].
    #[error("amf0/message: expected at most {max} values, found more")]
    TooManyValues {
        /// The limit.
        max: usize,
    },
    /// More text than [`Limits::text_bytes`].
    #[error("amf0/message: expected at most {max} bytes of text, found more")]
    TooMuchText {
        /// The limit.
        max: usize,
    },
}

/// All values of a message. An empty message has none.
pub fn decode(bytes: &[u8], limits: Limits) -> Result<Vec<Value>, Error> {
    let mut reader = Reader::new(bytes);
    let mut decoder = Decoder::new(&reader, limits);
    let mut values = Vec::new();
    while !reader.is_empty() {
        values.push(decoder.value(&mut reader, 0)?);
    }
    Ok(values)
}

/// The next value of `reader`. References can only reach into this one value.
pub fn decode_one(reader: &mut Reader<'_>, limits: Limits) -> Result<Value, Error> {
    Decoder::new(reader, limits).value(reader, 0)
}

/// Appends `value`. Text longer than 65535 bytes is written as a long string; a field or class
/// name that long has no form in AMF0 and is cut.
pub fn encode(out: &mut impl BufMut, value: &Value) {
    match value {
        Value::Number(number) => {
            out.put_u8(marker::NUMBER);
            out.put_f64(*number);
        }
        Value::Boolean(value) => {
            out.put_u8(marker::BOOLEAN);
            out.put_u8((*value).into());
        }
        Value::String(text) if text.len() <= usize::from(u16::MAX) => {
            out.put_u8(marker::STRING);
            put_name(out, text);
        }
        Value::String(text) => put_long(out, marker::LONG_STRING, text),
        Value::Object(fields) => {
            out.put_u8(marker::OBJECT);
            put_fields(out, fields);
        }
        Value::Null => out.put_u8(marker::NULL),
        Value::Undefined => out.put_u8(marker::UNDEFINED),
        Value::EcmaArray(fields) => {
            out.put_u8(marker::ECMA_ARRAY);
            out.put_u32(count_of(fields.len()));
            put_fields(out, fields);
        }
        Value::StrictArray(values) => {
            out.put_u8(marker::STRICT_ARRAY);
            out.put_u32(count_of(values.len()));
            values.iter().for_each(|value| encode(out, value));
        }
        Value::Date { millis, zone } => {
            out.put_u8(marker::DATE);
            out.put_f64(*millis);
            out.put_i16(*zone);
        }
        Value::Xml(text) => put_long(out, marker::XML, text),
        Value::Typed { class, fields } => {
            out.put_u8(marker::TYPED_OBJECT);
            put_name(out, class);
            put_fields(out, fields);
        }
        Value::Unsupported => out.put_u8(marker::UNSUPPORTED),
    }
}

/// State of one decoding.
struct Decoder<'a> {
    /// Everything, from where decoding began. References are resolved by decoding their target
    /// again, so that copies are charged like any other value.
    whole: &'a [u8],
    /// Position of `whole` in the reader, to translate between the two.
    start: usize,
    /// Where in `whole` each object that can be referred to begins, in order of appearance.
    objects: Vec<usize>,
    /// References being expanded around the current value. Objects inside are already listed.
    expanding: usize,
    limits: Limits,
    values_left: usize,
    text_left: usize,
}

impl<'a> Decoder<'a> {
    fn new(reader: &Reader<'a>, limits: Limits) -> Self {
        Self {
            whole: reader.rest(),
            start: reader.position(),
            objects: Vec::new(),
            expanding: 0,
            limits,
            values_left: limits.values,
            text_left: limits.text_bytes,
        }
    }

    fn value(&mut self, reader: &mut Reader<'a>, depth: usize) -> Result<Value, Error> {
        let at = reader.position();
        let found = reader.u8("marker")?;
        let max = self.limits.values;
        self.values_left = self.values_left.checked_sub(1).ok_or(Error::TooManyValues { max })?;
        Ok(match found {
            marker::NUMBER => Value::Number(reader.f64("number")?),
            marker::BOOLEAN => Value::Boolean(reader.u8("boolean")? != 0),
            marker::STRING => Value::String(self.name(reader)?),
            marker::LONG_STRING => Value::String(self.long(reader)?),
            marker::XML => Value::Xml(self.long(reader)?),
            marker::NULL => Value::Null,
            marker::UNDEFINED => Value::Undefined,
            marker::UNSUPPORTED => Value::Unsupported,
            marker::DATE => {
                let millis = reader.f64("date")?;
                let zone = reader.u16("date zone")?.cast_signed();
                Value::Date { millis, zone }
            }
            marker::OBJECT => {
                let depth = self.enter(at, depth)?;
                Value::Object(self.fields(reader, depth)?)
            }
            marker::ECMA_ARRAY => {
                let depth = self.enter(at, depth)?;
                // Senders write 0, or the count of another object: the end marker decides.
                reader.u32("array count")?;
                Value::EcmaArray(self.fields(reader, depth)?)
            }
            marker::TYPED_OBJECT => {
                let depth = self.enter(at, depth)?;
                let class = self.name(reader)?;
                Value::Typed { class, fields: self.fields(reader, depth)? }
            }
            marker::STRICT_ARRAY => {
                let depth = self.enter(at, depth)?;
                let count = reader.u32("array count")?;
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value(reader, depth)?);
                }
                Value::StrictArray(values)
            }
            marker::REFERENCE => self.reference(reader, at, depth)?,
            marker::AMF3 => return Err(Error::Amf3 { at }),
            found => return Err(Error::Marker { at, found }),
        })
    }

    /// Begins an object or array at `at`: one level deeper, and one more to refer to.
    fn enter(&mut self, at: usize, depth: usize) -> Result<usize, Error> {
        if depth == self.limits.depth {
            return Err(Error::TooDeep { max: self.limits.depth });
        }
        if self.expanding == 0 {
            self.objects.push(at - self.start);
        }
        Ok(depth + 1)
    }

    fn fields(
        &mut self,
        reader: &mut Reader<'a>,
        depth: usize,
    ) -> Result<Vec<(String, Value)>, Error> {
        let mut fields = Vec::new();
        // Some senders leave the last end markers out: the end of the message serves as well.
        while !reader.is_empty() && !reader.rest().starts_with(&OBJECT_END) {
            let name = self.name(reader)?;
            fields.push((name, self.value(reader, depth)?));
        }
        if !reader.is_empty() {
            reader.take("object end", OBJECT_END.len())?;
        }
        Ok(fields)
    }

    fn reference(
        &mut self,
        reader: &mut Reader<'a>,
        at: usize,
        depth: usize,
    ) -> Result<Value, Error> {
        let index = reader.u16("reference")?;
        let known = self.objects.len();
        let target = self.objects.get(usize::from(index));
        let target = *target.ok_or(Error::Reference { at, known, index })?;
        let mut there = Reader::new(self.whole);
        there.take("reference", target)?;
        self.expanding += 1;
        let value = self.value(&mut there, depth);
        self.expanding -= 1;
        value
    }

    fn name(&mut self, reader: &mut Reader<'a>) -> Result<String, Error> {
        let len = reader.u16("string length")?;
        self.text(reader, len.into())
    }

    fn long(&mut self, reader: &mut Reader<'a>) -> Result<String, Error> {
        let len = reader.u32("long string length")?;
        self.text(reader, usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn text(&mut self, reader: &mut Reader<'a>, len: usize) -> Result<String, Error> {
        let text = String::from_utf8_lossy(reader.take("string", len)?);
        let max = self.limits.text_bytes;
        let left = self.text_left.checked_sub(text.len());
        self.text_left = left.ok_or(Error::TooMuchText { max })?;
        Ok(text.into_owned())
    }
}

fn put_long(out: &mut impl BufMut, marker: u8, text: &str) {
    let text = &text[..text.floor_char_boundary(u32::MAX as usize)];
    out.put_u8(marker);
    out.put_u32(count_of(text.len()));
    out.put_slice(text.as_bytes());
}

fn put_name(out: &mut impl BufMut, name: &str) {
    let name = &name[..name.floor_char_boundary(usize::from(u16::MAX))];
    out.put_u16(u16::try_from(name.len()).expect("cut to 65535"));
    out.put_slice(name.as_bytes());
}

fn put_fields(out: &mut impl BufMut, fields: &[(String, Value)]) {
    for (name, value) in fields {
        put_name(out, name);
        encode(out, value);
    }
    out.put_slice(&OBJECT_END);
}

fn count_of(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// An empty name and the object-end marker, AMF 0 2.5.
const OBJECT_END: [u8; 3] = [0, 0, 9];

/// Type markers, AMF 0 2.1.
mod marker {
    pub(super) const NUMBER: u8 = 0x00;
    pub(super) const BOOLEAN: u8 = 0x01;
    pub(super) const STRING: u8 = 0x02;
    pub(super) const OBJECT: u8 = 0x03;
    pub(super) const NULL: u8 = 0x05;
    pub(super) const UNDEFINED: u8 = 0x06;
    pub(super) const REFERENCE: u8 = 0x07;
    pub(super) const ECMA_ARRAY: u8 = 0x08;
    pub(super) const STRICT_ARRAY: u8 = 0x0a;
    pub(super) const DATE: u8 = 0x0b;
    pub(super) const LONG_STRING: u8 = 0x0c;
    pub(super) const UNSUPPORTED: u8 = 0x0d;
    pub(super) const XML: u8 = 0x0f;
    pub(super) const TYPED_OBJECT: u8 = 0x10;
    pub(super) const AMF3: u8 = 0x11;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn encoded(values: &[Value]) -> Vec<u8> {
        let mut out = Vec::new();
        values.iter().for_each(|value| encode(&mut out, value));
        out
    }

    fn decoded(bytes: &[u8]) -> Result<Vec<Value>, Error> {
        decode(bytes, Limits::default())
    }

    fn one_of_each() -> Vec<Value> {
        let fields = vec![
            ("a".to_owned(), Value::Number(-1.5)),
            (String::new(), Value::Boolean(true)),
            ("nested".to_owned(), Value::Object(vec![])),
        ];
        vec![
            Value::String("onMetaData".to_owned()),
            Value::String("x".repeat(70_000)),
            Value::Null,
            Value::Undefined,
            Value::Unsupported,
            Value::Object(fields.clone()),
            Value::EcmaArray(fields.clone()),
            Value::StrictArray(vec![Value::Null, Value::Xml("<a/>".to_owned())]),
            Value::Date { millis: 1e12, zone: -60 },
            Value::Typed { class: "flex.A".to_owned(), fields },
        ]
    }

    #[test]
    fn one_of_each_comes_back() {
        let values = one_of_each();
        assert_eq!(decoded(&encoded(&values)).unwrap(), values);
    }

    #[test]
    fn the_end_marker_decides_not_the_ecma_count() {
        for count in [0_u32, 1, 2, u32::MAX] {
            let mut bytes = encoded(&[
                Value::EcmaArray(vec![
                    ("width".to_owned(), Value::Number(2.0)),
                    ("height".to_owned(), Value::Number(1.0)),
                ]),
                Value::Null,
            ]);
            bytes[1..5].copy_from_slice(&count.to_be_bytes());
            let values = decoded(&bytes).unwrap();
            assert_eq!(values[0].get("height").and_then(Value::as_f64), Some(1.0));
            assert_eq!(values[1..], [Value::Null]);
        }
    }

    #[test]
    fn end_markers_missing_at_the_end_of_the_message_are_tolerated() {
        let inner = Value::Object(vec![("b".to_owned(), Value::Null)]);
        let outer = Value::EcmaArray(vec![("a".to_owned(), inner)]);
        let bytes = encoded(std::slice::from_ref(&outer));
        assert_eq!(decoded(&bytes[..bytes.len() - 6]).unwrap(), [outer]);
    }

    #[test]
    fn a_reference_is_what_it_refers_to() {
        let object = Value::Object(vec![("a".to_owned(), Value::Number(1.0))]);
        let array = Value::StrictArray(vec![object.clone()]);
        let mut bytes = encoded(&[Value::Null, array.clone()]);
        bytes.extend([7, 0, 1, 7, 0, 0]);
        let want = [Value::Null, array.clone(), object, array];
        assert_eq!(decoded(&bytes).unwrap(), want);
        // The same through a reader that has been moved on before.
        let mut reader = Reader::new(&[5, 10, 0, 0, 0, 2, 3, 0, 0, 9, 7, 0, 1]);
        reader.u8("null").unwrap();
        let value = decode_one(&mut reader, Limits::default()).unwrap();
        assert_eq!(value, Value::StrictArray(vec![Value::Object(vec![]), Value::Object(vec![])]));
        assert!(reader.is_empty());
    }

    #[test]
    fn a_reference_to_nothing_is_refused() {
        let error = Error::Reference { at: 1, known: 0, index: 3 };
        assert_eq!(decoded(&[5, 7, 0, 3]), Err(error));
    }

    #[test]
    fn a_reference_into_itself_ends_at_the_depth_limit() {
        // { a: <reference to this object> }
        let bytes = [3, 0, 1, b'a', 7, 0, 0, 0, 0, 9];
        assert_eq!(decoded(&bytes), Err(Error::TooDeep { max: 16 }));
    }

    #[test]
    fn references_that_double_are_bounded_by_values() {
        // Each array holds the one before it twice: 2^n values of n arrays.
        let mut bytes = vec![10, 0, 0, 0, 0];
        for index in 0..15_u8 {
            bytes.extend([10, 0, 0, 0, 2, 7, 0, index, 7, 0, index]);
        }
        assert_eq!(decoded(&bytes), Err(Error::TooManyValues { max: 4096 }));
    }

    #[test]
    fn references_that_repeat_text_are_bounded_by_bytes() {
        let text = Value::String("x".repeat(60_000));
        let mut bytes = encoded(&[Value::StrictArray(vec![text])]);
        bytes.extend([7, 0, 0].repeat(100));
        assert_eq!(decoded(&bytes), Err(Error::TooMuchText { max: 1 << 20 }));
    }

    #[test]
    fn nesting_is_bounded() {
        let bomb = [10, 0, 0, 0, 1].repeat(1 << 20);
        assert_eq!(decoded(&bomb), Err(Error::TooDeep { max: 16 }));
        let bomb = [3, 0, 1, b'a'].repeat(1 << 20);
        assert_eq!(decoded(&bomb), Err(Error::TooDeep { max: 16 }));
    }

    #[test]
    fn a_count_beyond_the_message_allocates_nothing() {
        let error = decoded(&[10, 0xff, 0xff, 0xff, 0xff, 5]).unwrap_err();
        assert!(matches!(error, Error::Short(_)), "{error}");
        let error = decoded(&[12, 0xff, 0xff, 0xff, 0xff, b'x']).unwrap_err();
        assert!(matches!(error, Error::Short(_)), "{error}");
    }

    #[test]
    fn amf3_and_reserved_markers_are_refused_by_name() {
        assert_eq!(decoded(&[5, 0x11, 1]), Err(Error::Amf3 { at: 1 }));
        assert!(Error::Amf3 { at: 1 }.to_string().contains("AMF3"));
        for found in [4, 9, 14, 0x12, 0xff] {
            assert_eq!(decoded(&[found]), Err(Error::Marker { at: 0, found }));
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_kept_with_replacements() {
        assert_eq!(decoded(&[2, 0, 2, b'a', 0xff]).unwrap(), [Value::from("a\u{fffd}")]);
    }

    #[test]
    fn the_first_of_two_fields_counts() {
        let object = Value::Object(vec![("a".into(), 1.0.into()), ("a".into(), true.into())]);
        assert_eq!(object.get("a"), Some(&Value::Number(1.0)));
        assert_eq!(Value::Null.get("a"), None);
    }

    #[test]
    fn cut_at_every_byte_is_an_error_or_fewer_values() {
        let mut values = one_of_each();
        values.remove(1);
        let bytes = encoded(&values);
        for end in 0..bytes.len() {
            if let Ok(found) = decoded(&bytes[..end]) {
                assert!(found.len() <= values.len(), "cut at {end}");
            }
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<f64>().prop_filter("NaN equals nothing", |n| !n.is_nan()).prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::String),
            ".{0,20}".prop_map(Value::Xml),
            (-1e15..1e15, any::<i16>()).prop_map(|(millis, zone)| Value::Date { millis, zone }),
            Just(Value::Null),
            Just(Value::Undefined),
            Just(Value::Unsupported),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            let fields = || vec((".{0,8}", inner.clone()), 0..8);
            prop_oneof![
                fields().prop_map(Value::Object),
                fields().prop_map(Value::EcmaArray),
                (".{0,8}", fields()).prop_map(|(class, fields)| Value::Typed { class, fields }),
                vec(inner, 0..8).prop_map(Value::StrictArray),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_values_come_back(values in vec(any_value(), 0..4)) {
            prop_assert_eq!(decoded(&encoded(&values)).unwrap(), values);
        }

        #[test]
        fn random_bytes_never_panic(bytes in vec(prop_oneof![0_u8..0x13, any::<u8>()], 0..200)) {
            let _ = decoded(&bytes);
        }
    }
}
