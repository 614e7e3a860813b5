//! Names of a component's imports and exports, read from its bytes without compiling them.
//!
//! Compiling a Python tool takes half a minute: a tool that is refused should be refused before
//! that. So this reads the outermost import and export sections of the binary format
//! (component-model, `design/mvp/Binary.md`) and skips all others by their size.
//!
//! Invariants: no byte is read twice, no index is trusted, nothing recurses; what it does not
//! understand is an error. It decides nothing for good: [`crate::runner::Sandbox::load`] compares
//! the names with what wasmtime read, and the linker of the class has only what the class may.

/// Longest name that is believed: `namespace:package/interface@version` needs far less.
const NAME_BYTES: usize = 512;

/// What kind of thing is imported or exported; only instances are of interest by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An interface.
    Instance,
    /// A type: needs nothing of the host.
    Type,
    /// A function, module, value or component.
    Other,
}

/// The outermost imports and exports, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) imports: Vec<(String, Kind)>,
    pub(crate) exports: Vec<(String, Kind)>,
}

/// What stands in the first eight bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Preamble {
    Component,
    CoreModule,
    Unknown,
}

pub(crate) fn preamble(bytes: &[u8]) -> Preamble {
    match bytes.get(..8) {
        Some([0, b'a', b's', b'm', 0x0d, 0, 1, 0]) => Preamble::Component,
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => Preamble::CoreModule,
        _ => Preamble::Unknown,
    }
}

const IMPORT_SECTION: u8 = 10;
const EXPORT_SECTION: u8 = 11;
const LAST_SECTION: u8 = 12;

/// Reads the names. The error says at which byte the file stops making sense.
pub(crate) fn names(bytes: &[u8]) -> Result<Names, String> {
    let mut reader = Reader { bytes, at: 8 };
    let mut names = Names::default();
    while reader.at < bytes.len() {
        let id = reader.byte()?;
        if id > LAST_SECTION {
            return Err(format!("byte {}: there is no section {id}", reader.at - 1));
        }
        let size = reader.u32()? as usize;
        let end = reader
            .at
            .checked_add(size)
            .filter(|end| *end <= bytes.len());
        let Some(end) = end else {
            return Err(format!(
                "byte {}: section {id} has {size} bytes, and the file ends after {}",
                reader.at,
                bytes.len() - reader.at
            ));
        };
        if id == IMPORT_SECTION || id == EXPORT_SECTION {
            let mut section = Reader {
                bytes: &bytes[..end],
                at: reader.at,
            };
            for _ in 0..section.u32()? {
                let name = section.extern_name()?;
                if id == IMPORT_SECTION {
                    let kind = section.extern_desc()?;
                    names.imports.push((name, kind));
                } else {
                    let kind = section.sort_index()?;
                    match section.byte()? {
                        0 => {}
                        1 => {
                            section.extern_desc()?;
                        }
                        other => return Err(section.unknown("mark of a type", other)),
                    }
                    names.exports.push((name, kind));
                }
            }
            if section.at != end {
                return Err(format!(
                    "byte {}: section {id} goes on after its end",
                    section.at
                ));
            }
        }
        reader.at = end;
    }
    Ok(names)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn unknown(&self, what: &str, byte: u8) -> String {
        format!(
            "byte {}: {byte:#04x} is no {what}",
            self.at.saturating_sub(1)
        )
    }

    fn byte(&mut self) -> Result<u8, String> {
        let byte = self.bytes.get(self.at).copied();
        let byte = byte.ok_or_else(|| format!("byte {}: the file ends too early", self.at))?;
        self.at += 1;
        Ok(byte)
    }

    /// LEB128, at most five bytes.
    fn u32(&mut self) -> Result<u32, String> {
        let mut value: u64 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value)
                    .map_err(|_| format!("byte {}: the number is too large", self.at));
            }
        }
        Err(format!("byte {}: the number does not end", self.at))
    }

    fn text(&mut self) -> Result<String, String> {
        let len = self.u32()? as usize;
        let end = self.at.saturating_add(len);
        match self.bytes.get(self.at..end).map(std::str::from_utf8) {
            Some(Ok(text)) if len <= NAME_BYTES => {
                self.at = end;
                Ok(text.to_owned())
            }
            _ => Err(format!("byte {}: a name is too long, or no UTF-8", self.at)),
        }
    }

    /// `importname'` and `exportname'`: plain, the same with an older mark, or with options.
    fn extern_name(&mut self) -> Result<String, String> {
        match self.byte()? {
            0 | 1 => self.text(),
            2 => {
                let name = self.text()?;
                for _ in 0..self.u32()? {
                    self.byte()?;
                    self.text()?;
                }
                Ok(name)
            }
            other => Err(self.unknown("mark of a name", other)),
        }
    }

    fn extern_desc(&mut self) -> Result<Kind, String> {
        let kind = match self.byte()? {
            0x00 => {
                let sort = self.byte()?;
                if sort != 0x11 {
                    return Err(self.unknown("core sort", sort));
                }
                Kind::Other
            }
            // A type: the same as another one, or a new resource.
            0x03 => {
                match self.byte()? {
                    0 => {
                        self.u32()?;
                    }
                    1 => {}
                    other => return Err(self.unknown("bound of a type", other)),
                }
                return Ok(Kind::Type);
            }
            0x05 => Kind::Instance,
            0x01 | 0x04 => Kind::Other,
            other => return Err(self.unknown("kind of import or export", other)),
        };
        self.u32()?;
        Ok(kind)
    }

    fn sort_index(&mut self) -> Result<Kind, String> {
        let kind = match self.byte()? {
            0x00 => {
                self.byte()?;
                Kind::Other
            }
            0x01 | 0x02 | 0x04 => Kind::Other,
            0x03 => Kind::Type,
            0x05 => Kind::Instance,
            other => return Err(self.unknown("sort", other)),
        };
        self.u32()?;
        Ok(kind)
    }
}
