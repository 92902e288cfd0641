//! A directory that only its owner can use, removed at the end.

use std::{
    env,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{self, Path, PathBuf},
    process,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::plugin::error::Error;

/// How many names are tried.
const TRIES: u32 = 100;

/// A new directory for the socket and the public key. It never contains a private key.
pub struct Directory(PathBuf);

impl Directory {
    /// Creates the directory among the temporary files.
    pub fn create() -> Result<Self, Error> {
        let parent = path::absolute(env::temp_dir()).unwrap_or_else(|_| env::temp_dir());
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for number in 0..TRIES {
            // Short, since the path of a socket must not exceed about 100 bytes. It need not be secret: nobody else can enter, and a
            // directory that exists already is not used.
            let path = parent.join(format!("kkp-{}-{:x}", process::id(), time.wrapping_add(number)));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(Error::file("create a directory in", &parent)(error)),
            }
        }
        Err(Error::file("create a directory in", &parent)(last))
    }

    /// The path of a file in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf, Error> {
        let path = self.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(content.as_bytes())).map_err(Error::file("write", &path))?;
        Ok(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // There is nothing to do about a failure, and nothing secret in it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_is_for_its_owner_and_goes_with_everything_in_it() {
        let (one, two) = (Directory::create().unwrap(), Directory::create().unwrap());
        assert_ne!(one.path(), two.path());
        let file = one.write("key.pub", "text\n").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(one.path()), mode(&file)), (0o700, 0o600));
        drop(one);
        assert!(!file.exists() && !file.parent().unwrap().exists());
    }
}
