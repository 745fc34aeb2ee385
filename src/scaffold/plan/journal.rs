//! What was done to a folder, so that a failure can undo it; and the folders on the way to a file.

use crate::scaffold::rooted_dir::Dir;

/// What was done, so that it can be undone.
#[derive(Default)]
pub(super) struct Journal(Vec<UndoStep>);

pub(super) enum UndoStep {
    Remove(String),
    RemoveFolder(String),
    Restore { kept: String, path: String },
}

impl Journal {
    pub(super) fn done(&mut self, undo: UndoStep) {
        self.0.push(undo);
    }

    /// Undoes everything, last first. Returns the paths where that failed.
    pub(super) fn take_back(self, root: &Dir) -> Vec<String> {
        let mut left = Vec::new();
        for undo in self.0.into_iter().rev() {
            let path = match &undo {
                UndoStep::Remove(path) | UndoStep::RemoveFolder(path) | UndoStep::Restore { path, .. } => {
                    path
                }
            };
            let outcome = open_parent(root, path, &mut |_| {}).and_then(|(folder, name)| match &undo {
                UndoStep::Remove(_) => folder.remove(name),
                UndoStep::RemoveFolder(_) => folder.remove_folder(name),
                UndoStep::Restore { kept, .. } => {
                    let kept = kept.rsplit('/').next().unwrap_or(kept);
                    folder.rename(kept, name)?;
                    // If both are names of one file, a rename leaves both and reports no error.
                    if folder.entry(kept)?.is_some() { folder.remove(kept) } else { Ok(()) }
                }
            });
            match outcome {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => left.push(path.clone()),
                _ => {}
            }
        }
        left
    }
}

/// Opens the folder that contains `path` below `root` and creates missing ones. Calls `made` with each path
/// that it creates.
pub(in crate::scaffold) fn open_parent<'p>(
    root: &Dir,
    path: &'p str,
    made: &mut dyn FnMut(String),
) -> std::io::Result<(Dir, &'p str)> {
    let (folders, name) = path.rsplit_once('/').map_or((None, path), |(folders, name)| (Some(folders), name));
    let mut dir = root.again()?;
    let mut so_far = String::new();
    for folder in folders.into_iter().flat_map(|folders| folders.split('/')) {
        so_far = if so_far.is_empty() { folder.to_owned() } else { format!("{so_far}/{folder}") };
        if dir.entry(folder)?.is_none() {
            dir.make_folder(folder)?;
            made(so_far.clone());
        }
        dir = dir.child(folder)?;
    }
    Ok((dir, name))
}
