use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Failure;
use crate::config::Config;

/// The directories of recordings that nothing could be written to. `known` are in use and left alone.
pub(crate) fn directories(config: &Config, known: Option<&Config>) -> Vec<Failure> {
    let known: Vec<_> = known.into_iter().flat_map(places).map(|(_, place)| place).collect();
    let mut seen = Vec::new();
    let mut failures = Vec::new();
    for (key, place) in places(config) {
        if known.contains(&place) || seen.contains(&place) {
            continue;
        }
        seen.push(place);
        if let Err(error) = try_out(Path::new(place)) {
            failures.push(Failure::RecordDirectory { key, path: place.to_owned(), error });
        }
    }
    failures
}

/// Each with its key. Apps have what the defaults say: those come first.
fn places(config: &Config) -> Vec<(String, &str)> {
    let named = config.app.iter().map(|(name, app)| (format!("app.{name}"), app));
    std::iter::once(("app_defaults".to_owned(), &config.app_defaults))
        .chain(named)
        .map(|(table, app)| (format!("{table}.record_directory"), app.record_directory.as_str()))
        .filter(|(_, place)| !place.is_empty())
        .collect()
}

/// Makes a folder in it, as recordings do, and leaves nothing that was not there before.
fn try_out(place: &Path) -> io::Result<()> {
    let trial = place.join(format!(".corecast-{}", std::process::id()));
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let made: Vec<PathBuf> =
        trial.ancestors().take_while(is_missing).map(Path::to_path_buf).collect();
    let tried = fs::create_dir_all(&trial);
    for folder in made {
        // Err: it was not made, or somebody records into it by now.
        let _ = fs::remove_dir(folder);
    }
    match tried {
        // It is the right place, and may have room when there is something to record.
        Err(error) if is_full(&error) => Ok(()),
        tried => tried,
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::App;

    fn config(defaults: &Path, live: &Path) -> Config {
        let app = |place: &Path| {
            Arc::new(App { record_directory: place.display().to_string(), ..App::default() })
        };
        let mut config = Config { app_defaults: app(defaults), ..Config::default() };
        config.app.insert("live".to_owned(), app(live));
        config
    }

    #[test]
    fn a_file_in_its_way_is_named_once_with_the_key_and_a_good_place_is_left_as_it_was() {
        let root = std::env::temp_dir().join(format!("corecast-places-{}", std::process::id()));
        let (file, good) = (root.join("file"), root.join("rec/of/all"));
        fs::create_dir_all(&root).expect("room for it");
        fs::write(&file, "").expect("room for it");
        let bad = file.join("rec");
        let told = |config: &Config, known: Option<&Config>| -> Vec<String> {
            directories(config, known).iter().map(ToString::to_string).collect()
        };
        assert!(told(&config(&good, &good), None).is_empty());
        assert!(!root.join("rec").exists(), "it was made to be tried alone");
        let both = told(&config(&bad, &bad), None);
        assert_eq!(both.len(), 1, "{both:?}");
        let start = format!("app_defaults.record_directory: {}: Not a directory", bad.display());
        assert!(both[0].starts_with(&start), "{both:?}");
        let named = told(&config(&good, &bad), None);
        assert!(named[0].starts_with("app.live.record_directory: "), "{named:?}");
        assert!(named[0].contains("cure: "), "{named:?}");
        let running = config(&bad, &good);
        assert!(told(&running, Some(&running)).is_empty(), "it is in use already");
        fs::remove_dir_all(&root).expect("ours");
    }
}
