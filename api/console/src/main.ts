import { mount } from 'svelte';
import App from './App.svelte';
import './styles/tokens.css';
import './styles/base.css';
import * as api from './lib/api';
import { clock } from './state/clock.svelte';
import { live } from './state/live.svelte';
import { sessions } from './state/session.svelte';

api.connect({
  csrfToken: () => sessions.csrfToken,
  onServerTime: (now, sentAt, receivedAt) => {
    clock.sample(now, sentAt, receivedAt);
    live.heard();
  },
  onSignedOut: () => sessions.ended(),
});

const target = document.getElementById('console');
if (target === null) throw new Error('index.html has no #console');
mount(App, { target });
void sessions.load();
