//! Texts that many attempts have in common, kept once: a million losses mostly have a handful of causes and stories.

use std::{collections::HashMap, sync::Arc};

/// How many different stories are kept. Beyond that, each new one is its attempt's own.
const STORIES_MAX: usize = 4_096;

/// The texts so far.
#[derive(Debug, Default)]
pub struct Shared {
    texts: HashMap<String, Arc<str>>,
    stories: HashMap<Vec<String>, Arc<[String]>>,
}

impl Shared {
    /// A short text: a target, an end, a slug. There are few of them.
    pub fn text(&mut self, text: &str) -> Arc<str> {
        match self.texts.get(text) {
            Some(known) => Arc::clone(known),
            None => {
                let shared: Arc<str> = text.into();
                self.texts.insert(text.to_owned(), Arc::clone(&shared));
                shared
            }
        }
    }

    /// The facts of an attempt in words.
    pub fn story(&mut self, facts: Vec<String>) -> Arc<[String]> {
        if let Some(known) = self.stories.get(&facts) {
            return Arc::clone(known);
        }
        let shared: Arc<[String]> = facts.clone().into();
        if self.stories.len() < STORIES_MAX {
            self.stories.insert(facts, Arc::clone(&shared));
        }
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one() {
        let mut shared = Shared::default();
        let (one, other) = (shared.text("lost"), shared.text("lost"));
        assert!(Arc::ptr_eq(&one, &other));
        let story = || vec!["SYN dropped 1×".to_owned()];
        let (one, other) = (shared.story(story()), shared.story(story()));
        assert!(Arc::ptr_eq(&one, &other));
        assert!(shared.story(Vec::new()).is_empty());
    }

    #[test]
    fn more_stories_than_are_kept_are_told_all_the_same() {
        let mut shared = Shared::default();
        for number in 0..=STORIES_MAX {
            let story = vec![number.to_string()];
            assert_eq!(*shared.story(story.clone()), *story);
        }
        assert_eq!(shared.stories.len(), STORIES_MAX);
    }
}
